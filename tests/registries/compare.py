#!/usr/bin/env python3
"""Lets several clients do their work on the same registries, and holds what becomes of it against differences.tsv.

    compare.py FOLDER [PROFILE...]

Called by `run`, which says what it is for. SOCI_BIN, REFERENCE, CRANE and REGISTRY_BIN name programs.

Each profile is a registry of its own, in which each client has repositories of its own, so that no client meets what
another has left. A step is one command; it succeeds if its exit code is 0 and, where the program says what it did, it did
what the step is for.
"""

import concurrent.futures
import hashlib
import io
import json
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tarfile
import gzip
import time

HERE = pathlib.Path(__file__).resolve().parent
TOOL = "registries"
# So small that a ztoc is larger than 1 MiB, which some proxies do not let through.
SPAN_SIZE = 1 << 18
# More than any client needs to give up.
COMMAND_TIMEOUT = 120
# Most of the time is waiting for a client's next try.
WORKERS = 4
# The release that the rows of skopeo are about.
SKOPEO = "1.9.3"


class Client:
    """What a client does, in this order. Each step is a function from Place to a command, and the repositories that must
    have the image beforehand are those of the client's name."""

    def __init__(self, name, steps):
        self.name = name
        self.steps = steps


class Place:
    """Where a client works: a registry, a folder for its files, and the image as a layout."""

    def __init__(self, address, folder, layout):
        self.address = address
        self.folder = folder
        self.layout = layout

    def image(self, repository, tag="1"):
        return f"{self.address}/{repository}:{tag}"

    def new_folder(self, name):
        folder = self.folder / name
        shutil.rmtree(folder, ignore_errors=True)
        return folder


def soci(command, repository, tag, outcome, *flags):
    """A step of this program, which says how it ended."""

    def step(place):
        line = [os.environ["SOCI_BIN"], command, place.image(repository, tag), "--plain-http", "--json", *flags]
        return line, lambda said: outcome is None or json.loads(said)["outcome"] == outcome

    return step


def soci_index(repository, outcome, *flags):
    like_reference = ("--build-tool-identifier", TOOL, "--compatible-with", "0.16", "--min-layer-size", "1")
    return soci("index", repository, "1", outcome, *like_reference, "--span-size", str(SPAN_SIZE), *flags)


def reference(repository, version):
    """A step of the reference, which copies the image into a folder first."""

    def step(place):
        work = place.new_folder(f"{repository}-work")
        work.mkdir(parents=True)
        line = [os.environ["REFERENCE"], "index", "-work", str(work), "-tool", TOOL, "-min-layer-size", "1"]
        line += ["-span-size", str(SPAN_SIZE), "-index-version", version]
        return [*line, place.image(repository)], None

    return step


def skopeo(source, target):
    def step(place):
        flags = ["--quiet", "--all", "--preserve-digests", "--src-tls-verify=false", "--dest-tls-verify=false"]
        return ["skopeo", "copy", *flags, source(place), target(place)], None

    return step


def crane(*words):
    def step(place):
        return [os.environ["CRANE"], *(word(place) if callable(word) else word for word in words)], None

    return step


CLIENTS = [
    Client(
        "ours",
        {
            "index": soci_index("ours", "indexed"),
            "again": soci_index("ours", "already-indexed"),
            "verify": soci("verify", "ours", "1-soci", None),
            "v1": soci_index("ours-v1", "indexed", "--index-version", "v1"),
            "v1-again": soci_index("ours-v1", "already-indexed", "--index-version", "v1"),
            "v1-verify": soci("verify", "ours-v1", "1", None),
        },
    ),
    Client(
        "reference",
        {
            "index": reference("reference", "v2"),
            "again": reference("reference", "v2"),
            "v1": reference("reference-v1", "v1"),
        },
    ),
    Client(
        "skopeo",
        {
            "read": skopeo(lambda p: f"docker://{p.image('skopeo')}", lambda p: f"oci:{p.new_folder('skopeo')}:1"),
            "write": skopeo(lambda p: f"oci:{p.layout}:1", lambda p: f"docker://{p.image('skopeo-new')}"),
            "again": skopeo(lambda p: f"oci:{p.layout}:1", lambda p: f"docker://{p.image('skopeo-new')}"),
        },
    ),
    Client(
        "crane",
        {
            "read": crane("pull", "--format", "oci", lambda p: p.image("crane"), lambda p: str(p.new_folder("crane"))),
            "write": crane("push", "--index", lambda p: str(p.layout), lambda p: p.image("crane-new")),
            "again": crane("push", "--index", lambda p: str(p.layout), lambda p: p.image("crane-new")),
        },
    ),
]
# Those that have the image beforehand.
REPOSITORIES = ["ours", "ours-v1", "reference", "reference-v1", "skopeo", "crane"]


def main():
    folder, wanted = pathlib.Path(sys.argv[1]), sys.argv[2:]
    profiles = ["none", *output([os.environ["REGISTRY_BIN"], "profiles"]).split()]
    unknown = [name for name in wanted if name not in profiles]
    if unknown:
        print(f"no such profile: {' '.join(unknown)}", file=sys.stderr)
        sys.exit(2)
    expected = read_differences(HERE / "differences.tsv")
    gone = sorted({profile for profile, _, _ in expected} - set(profiles))
    for profile in gone:
        print(f"FAIL {profile}: differences.tsv has rows for it, and there is no such profile")
    layout = make_image(folder / "image")
    # Their own settings must have no say, and nobody is logged in.
    environment = {name: os.environ[name] for name in ("PATH", "TMPDIR") if name in os.environ}
    home = folder / "home"
    home.mkdir()
    environment |= {"HOME": str(home), "DOCKER_CONFIG": str(home), "REGISTRY_AUTH_FILE": str(home / "auth.json")}
    (home / "auth.json").write_text("{}")
    version = output(["skopeo", "--version"]).split()[-1]
    if version != SKOPEO:
        print(f"skopeo is {version} here, differences.tsv is about {SKOPEO}: what it does otherwise is only told")

    started, passed, failed = time.monotonic(), 0, len(gone)
    with concurrent.futures.ThreadPoolExecutor(WORKERS) as pool:
        runs = [
            (profile, pool.submit(run_profile, profile, folder / profile, layout, environment))
            for profile in wanted or profiles
        ]
        rows = []
        for profile, future in runs:
            results = future.result()
            rows += [(profile, *key, text) for key, text in results.items()]
            complaints = compare(profile, results, expected, version)
            summary = "  ".join(f"{client.name}: {summarise(client, results)}" for client in CLIENTS)
            print(f"{'FAIL' if complaints else 'ok '} {profile}: {summary}", flush=True)
            for complaint in complaints:
                print(f"     {complaint}")
            failed, passed = failed + bool(complaints), passed + (not complaints)
    table = "".join(f"{profile}\t{client}\t{step}\t{text or 'ok'}\n" for profile, client, step, text in rows)
    (folder / "results.tsv").write_text(table)
    print(f"took {time.monotonic() - started:.0f} s, the table is {folder / 'results.tsv'}")
    print(f"{passed} passed, {failed} failed")
    sys.exit(failed != 0)


def output(command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


# Habits that meet no request, as every client does what they want.
HARMLESS = {"storage-wants-referer"}


def read_differences(file):
    """The steps that do not succeed, with the reason: PROFILE, CLIENT, STEPS with commas between, REASON."""
    rows = {}
    known = {client.name: client.steps for client in CLIENTS}
    for number, line in enumerate(file.read_text().splitlines(), 1):
        if not line or line.startswith("#"):
            continue
        try:
            profile, client, steps, reason = line.split("\t")
            for step in steps.split(","):
                assert step in known[client] and reason, step
                rows[profile, client, step] = reason
        except (ValueError, KeyError, AssertionError) as error:
            print(f"{file}:{number} is not PROFILE, CLIENT, STEPS, REASON: {error!r}", file=sys.stderr)
            sys.exit(2)
    return rows


def make_image(folder):
    """An image index of two platforms. One layer is read in several requests, so it is larger than 8 MiB."""
    folder.mkdir(parents=True)
    layers = []
    for name, size in (("large", 10 << 20), ("small", 200_000)):
        layers.append(make_layer(folder / name, size))
    images = [
        {"platform": {"os": "linux", "architecture": architecture}, "layers": layers}
        for architecture in ("amd64", "arm64")
    ]
    layout = folder / "layout"
    specification = json.dumps({"tag": "1", "index": True, "images": images})
    maker = HERE.parent / "e2e" / "make_layout.py"
    subprocess.run([sys.executable, maker, layout], input=specification, text=True, check=True, capture_output=True)
    return layout


def make_layer(file, size):
    content = random.Random(size).randbytes(size)
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for part in range(4):
            member = tarfile.TarInfo(f"opt/file-{part}")
            data = content[part * size // 4 : (part + 1) * size // 4]
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    file.write_bytes(gzip.compress(archive.getvalue(), 1, mtime=0))
    diff_id = "sha256:" + hashlib.sha256(archive.getvalue()).hexdigest()
    return {"file": str(file), "media_type": "application/vnd.oci.image.layer.v1.tar+gzip", "diff_id": diff_id}


def run_profile(profile, folder, layout, environment):
    """What became of each step of each client: why it failed, or None."""
    folder.mkdir()
    results, roots = {}, {}
    with open(folder / "registry.log", "w") as log:
        registry = subprocess.Popen(
            [os.environ["REGISTRY_BIN"], profile, str(layout), *REPOSITORIES],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, text=True,
        )
        try:
            address = registry.stdout.readline().strip()
            if not address:
                raise RuntimeError(f"the registry does not start, see {folder / 'registry.log'}")
            place = Place(address, folder, layout)
            for client in CLIENTS:
                for name, step in client.steps.items():
                    said, results[client.name, name] = run_step(step, place, folder / f"{client.name}-{name}", environment)
                    roots[client.name, name] = said
            # What nobody met says nothing of anybody. The registry looks every 50 ms.
            time.sleep(0.1)
        finally:
            registry.kill()
            met = registry.stdout.read()
            registry.wait()
    if not met and profile not in HARMLESS:
        # A step of its own, which nobody can expect to fail.
        results["ours", "habit"] = "no request of any client was met by it"
    for step in ("index", "v1"):
        same_bytes(step, results, roots)
    for leftover in folder.iterdir():
        if leftover.is_dir():
            shutil.rmtree(leftover)
    return results


def same_bytes(step, results, roots):
    """Where both have built an index, it is the same one."""
    if results["ours", step] or results["reference", step]:
        return
    ours, reference = json.loads(roots["ours", step])["index"], json.loads(roots["reference", step])["root"]
    if ours != reference:
        results["ours", step] = f"the index is {ours}, the reference's {reference}"


def run_step(step, place, log, environment):
    command, check = step(place)
    started = time.monotonic()
    try:
        ended = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=COMMAND_TIMEOUT, env=environment
        )
        said, errors, code = ended.stdout, ended.stderr, ended.returncode
        problem = None if code == 0 else why(said, errors)
    except subprocess.TimeoutExpired:
        said, errors, code, problem = "", "", None, f"not within {COMMAND_TIMEOUT} s"
    if problem is None and check is not None:
        try:
            problem = None if check(said) else f"ended otherwise: {last_line(said)}"
        except (ValueError, KeyError):
            problem = f"says nothing that can be read: {last_line(said)}"
    seconds = time.monotonic() - started
    log.with_suffix(".log").write_text(f"{' '.join(command)}\nexit code {code} after {seconds:.1f} s\n{said}\n{errors}\n")
    return said, problem


def why(said, errors):
    """What a client says of its failure: in its result, if it prints one, else in its last line."""
    try:
        result = json.loads(said)
        return clean(result.get("detail") or result.get("reason") or result["error"])
    except (ValueError, KeyError, AttributeError):
        return last_line(errors or said)


def last_line(text):
    lines = [line for line in text.splitlines() if line.strip()]
    return clean(lines[-1]) if lines else "no word"


def clean(text):
    return " ".join(text.split())[:400]


def compare(profile, results, expected, skopeo_version):
    complaints = []
    for (client, step), problem in results.items():
        reason = expected.get((profile, client, step))
        if bool(problem) == bool(reason):
            continue
        text = f"{client} {step} fails: {problem}" if problem else f"{client} {step} succeeds, unlike differences.tsv says: {reason}"
        if client == "skopeo" and skopeo_version != SKOPEO:
            print(f"     told only: {profile}: {text}")
        else:
            complaints.append(text)
    return complaints


def summarise(client, results):
    failing = [step for step in client.steps if results[client.name, step]]
    return f"not {','.join(failing)}" if failing else "ok"


if __name__ == "__main__":
    main()
