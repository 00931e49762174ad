"""The cases of `tests/aws/run rie`: rie.py EMULATOR WORK

The functions as Lambda starts them from the image: under AWS's emulator of the runtime interface, by the entry points that
the template names, with the variables that it gives them, as a user of no rights, on a root that cannot be written to. The
services of AWS and the registry are a server in this process.

The root is that of the image, which tests/image/run leaves in target/image/run/root; without it the same is made of the
program SOCI_BIN. Needs root, for mounts and chroot: without it the last line says so, and the exit code is 3.
"""

import base64
import gzip
import hashlib
import http.client
import http.server
import io
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import threading
import time
import urllib.parse
from collections.abc import Callable
from typing import Any

import events
import resolve
from cases import Failed, run

EMULATOR, WORK = (pathlib.Path(argument).resolve() for argument in sys.argv[1:3])
TREE = pathlib.Path(__file__).resolve().parent.parent.parent
IMAGE = TREE / "target/image/run/root"
PROGRAM = "/usr/local/bin/soci-index-builder"
CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
ROOT = WORK / "root"
ACCOUNT, REGION = resolve.ACCOUNT, "eu-west-1"
PASSWORD = "secret"
# Longer than anything here takes.
TIMEOUT = 60


class Aws(http.server.BaseHTTPRequestHandler):
    """SQS, ECR's API, and ECR's registry, as far as the functions call them."""

    protocol_version = "HTTP/1.1"
    lock = threading.Lock()
    sent: list[dict[str, Any]] = []
    failing: set[str] = set()
    blobs: dict[str, bytes] = {}
    manifests: dict[str, tuple[str, bytes]] = {}

    def log_message(self, format: str, *arguments: Any) -> None:  # pylint: disable=redefined-builtin
        """Says nothing."""

    def answer(self, status: int, body: bytes = b"", headers: dict[str, str] | None = None) -> None:
        """Sends an answer; a HEAD gets no body."""
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def body(self) -> bytes:
        """What was sent, in one piece or in chunks."""
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        found = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            found += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return found

    def do_POST(self) -> None:
        """A call of a service, or the begin of an upload."""
        body = self.body()
        target = self.headers.get("X-Amz-Target", "").rsplit(".", 1)[-1]
        if self.path.startswith("/v2/"):
            if self.is_known():
                self.answer(202, headers={"Location": self.path.rstrip("/") + "/1"})
            return
        if target in self.failing:
            self.answer(400, b'{"__type": "com.amazonaws.sqs#QueueDoesNotExist", "message": "gone"}')
        elif target == "SendMessage":
            asked = json.loads(body)
            with self.lock:
                self.sent.append(asked)
            md5 = hashlib.md5(asked["MessageBody"].encode(), usedforsecurity=False).hexdigest()
            self.answer(200, json.dumps({"MessageId": f"message-{len(self.sent)}", "MD5OfMessageBody": md5}).encode())
        elif target == "GetAuthorizationToken":
            token = base64.b64encode(f"AWS:{PASSWORD}".encode()).decode()
            self.answer(200, json.dumps({"authorizationData": [{
                "authorizationToken": token, "expiresAt": time.time() + 43200,
                "proxyEndpoint": f"https://{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com",
            }]}).encode())
        else:
            self.answer(400, b'{"__type": "UnknownOperationException"}')

    def is_known(self) -> bool:
        """Whether the registry knows who asks; answers if not."""
        expected = "Basic " + base64.b64encode(f"AWS:{PASSWORD}".encode()).decode()
        if self.headers.get("Authorization") == expected:
            return True
        self.answer(401, headers={"WWW-Authenticate": 'Basic realm="ecr"'})
        return False

    def do_GET(self) -> None:
        """A blob, also a part of one, or a manifest."""
        if not self.is_known():
            return
        found = re.fullmatch(r"/v2/(?:.+)/(blobs|manifests)/([^/]+)", self.path)
        kind, name = found.groups() if found else ("", "")
        if kind == "blobs" and name in self.blobs:
            body = self.blobs[name]
            if wanted := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")):
                first, last = int(wanted[1]), int(wanted[2] or len(body) - 1)
                part = body[first:last + 1]
                self.answer(206, part, {"Content-Range": f"bytes {first}-{first + len(part) - 1}/{len(body)}"})
            else:
                self.answer(200, body, {"Accept-Ranges": "bytes"})
        elif kind == "manifests" and name in self.manifests:
            media_type, body = self.manifests[name]
            self.answer(200, body, {"Content-Type": media_type, "Docker-Content-Digest": digest_of(body)})
        else:
            self.answer(404, b'{"errors": [{"code": "MANIFEST_UNKNOWN"}]}')

    do_HEAD = do_GET

    def do_PUT(self) -> None:
        """The whole of an upload, or a manifest."""
        body = self.body()
        if not self.is_known():
            return
        if "/manifests/" in self.path:
            name = self.path.rsplit("/", 1)[1]
            if lacks_blobs(body, self.blobs):
                self.answer(400, b'{"errors": [{"code": "MANIFEST_BLOB_UNKNOWN"}]}')
                return
            put_manifest(name, self.headers["Content-Type"], body)
        elif digest_of(body) not in urllib.parse.unquote(self.path):
            self.answer(400, b'{"errors": [{"code": "DIGEST_INVALID"}]}')
            return
        else:
            self.blobs[digest_of(body)] = body
        self.answer(201, headers={"Docker-Content-Digest": digest_of(body)})


def lacks_blobs(manifest: bytes, blobs: dict[str, bytes]) -> bool:
    """Whether a manifest names a configuration or layer that was not pushed."""
    document = json.loads(manifest)
    named = [document["config"], *document.get("layers", [])] if "config" in document else []
    return any(blob["digest"] not in blobs for blob in named)


def digest_of(body: bytes) -> str:
    """The SHA-256 digest of bytes."""
    return "sha256:" + hashlib.sha256(body).hexdigest()


def put_manifest(name: str, media_type: str, body: bytes) -> str:
    """Puts a manifest under its tag and digest into the registry."""
    Aws.manifests[name] = Aws.manifests[digest_of(body)] = (media_type, body)
    return digest_of(body)


def put_image(tag: str) -> str:
    """Puts an image of one layer of some megabytes into the registry; gives its digest."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for number in range(8):
            content = hashlib.sha512(f"{tag} {number}".encode()).digest() * 16384
            entry = tarfile.TarInfo(f"file-{number}")
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    layer = gzip.compress(archive.getvalue(), compresslevel=1, mtime=0)
    config = json.dumps({"architecture": "amd64", "os": "linux", "rootfs": {
        "type": "layers", "diff_ids": [digest_of(archive.getvalue())]}}).encode()
    for blob in (layer, config):
        Aws.blobs[digest_of(blob)] = blob
    media_type = "application/vnd.oci.image.manifest.v1+json"
    return put_manifest(tag, media_type, json.dumps({
        "schemaVersion": 2, "mediaType": media_type,
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest_of(config),
                   "size": len(config)},
        "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": digest_of(layer),
                    "size": len(layer)}],
    }).encode())


STACK = resolve.Stack(resolve.load(), {"SociRepositoryImageTagFilters": "prod*:*", "MinLayerSize": "0"}, region=REGION)
LIVE, DEAD = STACK.name("Queue"), STACK.name("DeadLetterQueue")
SERVER = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Aws)
SERVER.daemon_threads = True
ENDPOINT = f"http://127.0.0.1:{SERVER.server_address[1]}"


def make_root() -> str:
    """Makes the root that functions run on; says why not if it cannot be."""
    private = ["unshare", "--mount", "--propagation", "private", "true"]
    if os.geteuid() != 0 or not shutil.which("unshare") or subprocess.run(private, capture_output=True, check=False).returncode:
        return "a read-only root takes unshare, and the rights to mount"
    shutil.rmtree(ROOT, ignore_errors=True)
    if (IMAGE / PROGRAM[1:]).exists():
        shutil.copytree(IMAGE, ROOT, symlinks=True, ignore=shutil.ignore_patterns("proc"))
    elif "SOCI_BIN" in os.environ:
        program = ROOT / PROGRAM[1:]
        program.parent.mkdir(parents=True)
        shutil.copy(os.environ["SOCI_BIN"], program)
        for name in ("filter-lambda", "index-lambda"):
            (program.parent / name).symlink_to(program.name)
        needed = subprocess.run(["ldd", program], capture_output=True, text=True, check=False).stdout
        for library in re.findall(r"/[^ :]*\.so[^ ]*", needed):
            (ROOT / library[1:]).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(library, ROOT / library[1:])
    else:
        return f"there is neither {IMAGE.relative_to(TREE)} (tests/image/run) nor a program in SOCI_BIN"
    for folder in ("proc", "dev", "emulator", "etc/ssl/certs"):
        (ROOT / folder).mkdir(parents=True, exist_ok=True)
    certificates = ROOT / CERTIFICATES[1:]
    if not certificates.exists():
        shutil.copy(CERTIFICATES, certificates)
    for file in ("dev/null", "emulator/aws-lambda-rie"):
        (ROOT / file).touch()
    return ""


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Function:
    """A function under the emulator, as a container would run it."""

    MOUNTS = """
mount --bind "$0" "$0" && mount --bind /proc "$0/proc" && mount --bind /dev/null "$0/dev/null" &&
    mount --bind "$1" "$0/emulator/aws-lambda-rie" && mount -o remount,ro,bind "$0" && shift &&
    exec chroot --userspec=65532:65532 "$0" "$@"
"""

    def __init__(self, name: str, entry_point: str, variables: dict[str, str]) -> None:
        self.port = free_port()
        self.log = WORK / f"{name}.log"
        environment = {
            # As in the image, beside what unshare and chroot are found by.
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "SSL_CERT_FILE": CERTIFICATES,
            "AWS_REGION": REGION, "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
            "AWS_SECRET_ACCESS_KEY": "key", "AWS_ENDPOINT_URL": ENDPOINT, "REGISTRY_ENDPOINT_URL": ENDPOINT,
            "AWS_LAMBDA_FUNCTION_NAME": name, "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "1792",
            "AWS_LAMBDA_FUNCTION_TIMEOUT": "900", "AWS_MAX_ATTEMPTS": "1", **variables,
        }
        command = [
            "unshare", "--mount", "--propagation", "private", "--", "/bin/bash", "-c", self.MOUNTS, str(ROOT),
            str(EMULATOR), "/emulator/aws-lambda-rie", "--runtime-interface-emulator-address", f"127.0.0.1:{self.port}",
            "--runtime-api-address", f"127.0.0.1:{free_port()}", entry_point,
        ]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(  # pylint: disable=consider-using-with
                command, env=environment, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, start_new_session=True)

    def __enter__(self) -> "Function":
        return self

    def __exit__(self, *_: Any) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def said(self) -> str:
        """What emulator and function have written."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    def invoke(self, event: Any) -> Any:
        """The answer to an invocation: what the function answers, or the JSON of an error."""
        body = self.invoke_raw(event)
        try:
            return json.loads(body)
        except ValueError:
            raise Failed(f"the answer is {body!r}:\n{self.said()[-2000:]}") from None

    def invoke_raw(self, event: Any) -> bytes:
        """The bytes of the answer; there are none where the function does not start."""
        payload = event if isinstance(event, str) else json.dumps(event)
        until = time.monotonic() + TIMEOUT
        while True:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT)
            try:
                connection.request("POST", "/2015-03-31/functions/function/invocations", payload)
                return connection.getresponse().read()
            except ConnectionRefusedError:
                if self.process.poll() is not None or time.monotonic() > until:
                    raise Failed(f"the emulator does not answer:\n{self.said()[-2000:]}") from None
                time.sleep(0.1)
            finally:
                connection.close()


def started(resource: str) -> Function:
    """A function of the template, by its entry point, with its variables and queues of this process."""
    properties = STACK.of_type("AWS::Lambda::Function")[resource]
    (entry_point,) = properties["ImageConfig"]["EntryPoint"]
    own = f"https://sqs.{REGION}.amazonaws.com/"
    variables = {
        name: value.replace(own, f"{ENDPOINT}/") for name, value in properties["Environment"]["Variables"].items()
    }
    return Function(entry_point.rsplit("/", 1)[1], entry_point, variables)


def filter_lambda() -> Function:
    """The filter Lambda."""
    return started("FilterFunction")


def index_lambda() -> Function:
    """The index Lambda."""
    return started("IndexFunction")


def push(**detail: Any) -> events.Event:
    """The event of a push, with other members of its detail."""
    return events.with_detail(events.image_has_come(events.PUSH, ACCOUNT, REGION), **detail)


def sent_since(before: int) -> list[tuple[str, str]]:
    """Queue and body of the messages after these."""
    return [(message["QueueUrl"].rsplit("/", 1)[1], message["MessageBody"]) for message in Aws.sent[before:]]


def expect(what: str, found: Any, expected: Any) -> None:
    """Fails unless both are the same."""
    if found != expected:
        raise Failed(f"{what} is {found!r}, expected {expected!r}")


def contains(what: str, found: str, *parts: str) -> None:
    """Fails unless all parts are in the text."""
    for part in parts:
        if part not in found:
            raise Failed(f"{part!r} is not in {what}:\n{found[-2000:]}")


def the_filter_lambda_answers() -> None:
    """A push, one that no filter matches, a result, no event, one of ECR that is malformed."""
    with filter_lambda() as function:
        before = len(Aws.sent)
        answer = function.invoke(push())
        expect("the status", answer["statusCode"], 200)
        contains("the answer", answer["body"], "Successfully queued the image", '"prod/app:1"', '"prod*:*"')
        ((where, body),) = sent_since(before)
        expect("the queue", where, LIVE)
        expect("the job's digest", json.loads(body)["digest"], events.DIGEST)

        before = len(Aws.sent)
        answer = function.invoke(push(repository_name="dev/app"))
        expect("the status", answer["statusCode"], 200)
        contains("the answer", answer["body"], "did not match any SOCI repository image tag filters")
        answer = function.invoke(push(image_tag="1-soci"))
        expect("the answer", answer, {
            "statusCode": 200, "body": 'Skipping image "prod/app:1-soci" as it has the "-soci" suffix'})
        for event in ({}, "[]", '"text"', push(action_type="DELETE")):
            expect(f"the status of {event}", function.invoke(event)["statusCode"], 400)
        expect("what was sent", sent_since(before), [])

        malformed = push(image_digest="sha256:short")
        answer = function.invoke(malformed)
        expect("the status", answer["statusCode"], 400)
        contains("the answer", answer["body"], "image-digest")
        ((where, body),) = sent_since(before)
        expect("the queue", where, LIVE)
        expect("what is kept", json.loads(body), malformed)


def the_filter_lambda_fails_where_it_loses_an_event() -> None:
    """So that Lambda tries again, and goes on afterwards."""
    with filter_lambda() as function:
        Aws.failing.add("SendMessage")
        try:
            answer = function.invoke(push())
        finally:
            Aws.failing.discard("SendMessage")
        expect("the error", answer.get("errorType"), "QueueError")
        contains("the message", answer["errorMessage"], "did not send a message")
        expect("the status after that", function.invoke(push())["statusCode"], 200)


def the_index_lambda_indexes() -> None:
    """An image by its event, and again by records of a queue."""
    digest = put_image("app-1")
    with index_lambda() as function:
        event = push(image_digest=digest, image_tag="app-1")
        expect("the answer", function.invoke(event), "Successfully built and pushed SOCI index")
        if "app-1-soci" not in Aws.manifests:
            raise Failed(f"there is no app-1-soci in {sorted(Aws.manifests)}")
        before = len(Aws.sent)
        records = [{
            "messageId": f"message-{number}", "receiptHandle": "receipt", "body": body,
            "attributes": {"ApproximateReceiveCount": "1", "SentTimestamp": "1780000000000"}, "messageAttributes": {},
            "eventSource": "aws:sqs", "awsRegion": REGION, "eventSourceARN": f"arn:aws:sqs:{REGION}:{ACCOUNT}:small",
        } for number, body in enumerate((json.dumps(event), "no job"))]
        expect("the answer", function.invoke({"Records": records}), {"batchItemFailures": []})
        expect("what was sent", sent_since(before), [(DEAD, "no job")])


def the_index_lambda_says_why_not() -> None:
    """Sentences for what is no work, errors for what is no event."""
    with index_lambda() as function:
        expect("the answer", function.invoke(push(image_tag=None)),
               "Skipped SOCI index generation for V2 as image has no tag")
        contains("the answer", function.invoke(push(image_tag="1-soci")), "Skipped SOCI index generation: ")
        answer = function.invoke(push(action_type="DELETE"))
        expect("the error", answer.get("errorType"), "ECRImageActionEvent validation error")
        # What can never be done is answered with a sentence once it is on the queue of dead letters.
        before = len(Aws.sent)
        expect("the answer", function.invoke(push(image_digest="sha256:short")), "ECRImageActionEvent validation error")
        expect("the queue", [where for where, _ in sent_since(before)], [DEAD])
        Aws.failing.add("SendMessage")
        try:
            answer = function.invoke(push(image_digest="sha256:short"))
        finally:
            Aws.failing.discard("SendMessage")
        expect("the error", answer.get("errorType"), "ECRImageActionEvent validation error")
        contains("the message", answer["errorMessage"], "image-digest")


def a_wrong_configuration_is_told(name: str, *variables: str) -> None:
    """The emulator tells that the program has ended, and the log names every variable."""
    with Function(name, f"/usr/local/bin/{name}", {"SPAN_SIZE": "-1"}) as function:
        expect("the answer", function.invoke_raw(push()), b"")
        said = function.said()
        contains("the log", said, "Runtime.ExitError", "exit status 64", *(f"{variable}: " for variable in variables))


def the_root_cannot_be_written_to() -> None:
    """Or the cases above would show less than they say."""
    script = Function.MOUNTS.replace("chroot --userspec=65532:65532", "chroot --userspec=0:0")
    done = subprocess.run(
        ["unshare", "--mount", "--propagation", "private", "--", "/bin/bash", "-c",
         script[:script.index("exec")] + 'touch "$0/file"', str(ROOT), str(EMULATOR), "true"],
        capture_output=True, text=True, check=False)
    contains("what touch says", done.stderr, "Read-only file system")


def main() -> None:
    """Runs the cases."""
    WORK.mkdir(parents=True, exist_ok=True)
    if why := make_root():
        print(why)
        sys.exit(3)
    threading.Thread(target=SERVER.serve_forever, daemon=True).start()
    cases: list[tuple[str, Callable[[], None]]] = [
        ("rie: the root cannot be written to", the_root_cannot_be_written_to),
        ("rie: the filter Lambda answers", the_filter_lambda_answers),
        ("rie: the filter Lambda fails where it would lose an event", the_filter_lambda_fails_where_it_loses_an_event),
        ("rie: the index Lambda indexes an image and records of a queue", the_index_lambda_indexes),
        ("rie: the index Lambda says why not", the_index_lambda_says_why_not),
        ("rie: the filter Lambda without variables is told",
         lambda: a_wrong_configuration_is_told("filter-lambda", "QUEUE_URL", "SOCI_REPOSITORY_IMAGE_TAG_FILTERS")),
        ("rie: the index Lambda without variables is told",
         lambda: a_wrong_configuration_is_told("index-lambda", "QUEUE_URL", "SPAN_SIZE")),
    ]
    run(cases)


if __name__ == "__main__":
    main()
