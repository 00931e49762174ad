"""The cases of tests/browser/run: cases.py PROGRAM WORK [SCREENSHOTS]"""

import json
import pathlib
import subprocess
import sys
import traceback
import urllib.error
import urllib.request

from webdriver import Driver, Failed, Page, wait_for

PHONE = 390
NARROW = 360
DESK = 1280

# The states that are shown, each a scene of the program's, with what the page says of it.
STATES = [
    ("starting", "No queue has answered yet"),
    ("idle", "Waiting for messages"),
    ("busy", "Reading manifests"),
    ("queue-unreachable", "The live queue does not answer"),
    ("registry-unreachable", "The registry is away"),
    ("draining", "Told to stop; 3 jobs in hand, given back at"),
    ("waiting", "Waits for memory for its layers"),
    ("recovering", "Reading manifests"),
    ("failures", "6 times, first"),
    ("letters", "failed attempts"),
]
# Scenes that are ordinary work.
WORKING = {"busy", "waiting", "recovering", "failures", "letters"}


class Server:
    """The program that serves the page, with a scene of its own."""

    def __init__(self, program, scene, address="127.0.0.1:0"):
        self.process = subprocess.Popen(
            [program, address, scene],
            stdout=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
        )
        self.url = self.process.stdout.readline().strip()
        if not self.url:
            raise Failed("the status page's program does not start")

    @property
    def address(self):
        return self.url.removeprefix("http://").rstrip("/")

    def stop(self):
        self.process.kill()
        self.process.wait()


def expect(what, actual, expected):
    if actual != expected:
        raise Failed(f"{what} is {actual!r}, expected {expected!r}")


def expect_in(what, part, text):
    if part not in text:
        raise Failed(f"{what} lacks {part!r}: {text[:2000]!r}")


def ask(server, path):
    """The status code and the text of an answer."""
    try:
        with urllib.request.urlopen(server.url + path) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def all_say_the_same(page, server, scene, words):
    state = "working" if scene in WORKING else scene
    page.open(server.url)
    wait_for("the words of the state", lambda: words in page.text())
    expect("the page's state", page.text(".state"), state.replace("-", " "))
    status = json.loads(ask(server, "status")[1])
    expect("the state of /status", status["service"]["state"], state)
    lines = [line for line in ask(server, "metrics")[1].splitlines() if line.startswith("soci_index_builder_state{")]
    on = [line.split('"')[1] for line in lines if line.endswith((" 1", " 1.0"))]
    expect("the state of /metrics", on, [state])
    ready = state in ("idle", "working")
    code, text = ask(server, "readyz")
    expect("the code of /readyz", code, 200 if ready else 503)
    expect_in("/readyz", "ready" if ready else f"{state}: ", text)
    expect("the code of /livez", ask(server, "livez")[0], 200)
    times = page.run("return [...document.querySelectorAll('time')].map((time) => time.dateTime)")
    for since in [away["since"] for away in status["queues_away"]]:
        expect_in("the times of the page", since, times)
        expect_in("/readyz", since, text)


def content(page, server):
    page.open(server.url)
    text = page.text()
    for part in [
        "SOCI index builder",
        "working",
        "team/checkout:2.14.0-rc.1",
        "ml/inference-gpu:cu124",
        "Reading manifests",
        "2nd try",
        "Indexed",
        "Already indexed",
        "no layer is as large as the minimum of 10.0 MiB",
        "Failed",
        "push it once more",
        "429 Too Many Requests",
        "malformed-message",
        "12\u2009408",
    ]:
        expect_in("the page", part, text)
    expect("the title", page.run("return document.title"), "3 running · SOCI index builder")


def what_is_waited_for_is_said(page, server):
    page.open(server.url)
    for words in ["the turn of its layers", "memory for its manifests", "memory for its layers"]:
        expect_in("the page", words, page.text())
    running = page.text("[data-key=Running]")
    expect_in("the figure of running jobs", "3 waiting", running)
    status = json.loads(ask(server, "status")[1])
    waiting = {job["waits_for"] for job in status["running"] if job["waits_for"]}
    expect("what /status says", waiting, {"layer-slot", "document-memory", "layer-memory"})
    for job in status["running"]:
        if job["waits_for"]:
            expect("the time left of a job that waits", job["remaining_seconds"], None)


def the_reader_chooses(page, server):
    page.open(server.url)
    rows = "return document.querySelectorAll('.lately tbody tr').length"
    all_rows = page.run(rows)
    page.run("document.querySelector('.filter select[name=outcome]').value = 'skipped'")
    page.run("document.querySelector('.filter button').click()")
    wait_for("the chosen rows", lambda: 0 < page.run(rows) < all_rows)
    expect("the outcomes", page.run("return [...new Set([...document.querySelectorAll('.badge')].map((b) => b.innerText))]"), ["Skipped"])
    shown = "return document.querySelector('footer time').textContent"
    first = page.run(shown)
    wait_for("the next answer", lambda: page.run(shown) != first)
    if page.run(rows) >= all_rows:
        raise Failed("the choice is gone with the next answer")


def times_are_the_readers(page, server):
    page.cdp("Emulation.setTimezoneOverride", {"timezoneId": "Asia/Kathmandu"})
    page.open(server.url)
    expected = page.run(
        "const time = document.querySelector('footer time');"
        "return new Date(time.dateTime).toLocaleString([], { dateStyle: 'medium', timeStyle: 'medium' })"
    )
    expect("the time of the footer", page.text("footer time"), expected)
    expect_in("its title", "Z)", page.run("return document.querySelector('footer time').title"))


def an_hour_is_drawn(page, server):
    page.open(server.url)
    names = page.run("return [...document.querySelectorAll('.chart svg')].map((chart) => chart.getAttribute('aria-label'))")
    expect("the number of charts", len(names), 3)
    expect_in("the chart of jobs", "Jobs that ended", names[0])
    bars = page.run("return document.querySelectorAll('.chart g').length")
    if not bars:
        raise Failed("no chart has a bar")


def letters_are_listed(page, server):
    page.open(server.url)
    text = page.text("[data-key=letters]")
    for part in ["team/checkout:2.13.8", "layer-memory", "received-too-often", "dead-letters", "<script>"]:
        expect_in("the letters", part, text)
    expect("the pictures", page.run("return document.images.length"), 0)
    links = page.run("return [...document.querySelectorAll('a.reason')].map((link) => link.href)")
    expect_in("the links to the runbook", "https://wiki.example/soci#layer-memory", links)


def no_empty_cell(page, server):
    page.open(server.url)
    gaps = page.run(
        "const list = document.querySelector('.figures dl').getBoundingClientRect();"
        "const rows = new Map();"
        "for (const cell of document.querySelectorAll('.figure')) {"
        "  const place = cell.getBoundingClientRect();"
        "  const row = Math.round(place.top);"
        "  rows.set(row, Math.max(rows.get(row) ?? 0, place.right));"
        "}"
        "return [...rows.values()].filter((right) => right < list.right - 4).length"
    )
    expect("the rows of figures that do not reach the end", gaps, 0)


def no_scrolling_sideways(page, server):
    page.open(server.url)
    page.run("document.querySelectorAll('details').forEach((details) => { details.open = true })")
    width = page.run("return document.documentElement.scrollWidth")
    expect("the width of the content", width, page.run("return document.documentElement.clientWidth"))
    outside = page.run(
        "const right = document.documentElement.clientWidth;"
        "return [...document.querySelectorAll('#page *')]"
        ".filter((element) => element.getBoundingClientRect().right > right + 0.5)"
        ".map((element) => element.outerHTML.slice(0, 120))"
    )
    expect("what is outside of the window", outside, [])


def progress_moves(page, server):
    page.open(server.url)
    page.run("window.same = true; document.querySelector('[data-key^=job-1] h3').mark = 'kept'")
    value = "return Number(document.querySelector('[data-key^=job-2] progress')?.value ?? 0)"
    first = page.run(value)
    wait_for("progress", lambda: page.run(value) > first)
    expect("the page, which must not be loaded anew,", page.run("return window.same"), True)


def what_the_reader_opened_stays_open(page, server):
    page.open(server.url)
    wait_for("a finished layer", lambda: page.run("return !!document.querySelector('.job details')"))
    page.run(
        "const details = document.querySelector('.job details');"
        "details.open = true; window.opened = details;"
        "window.shown = document.querySelector('footer time').textContent"
    )
    changed = "return document.querySelector('footer time').textContent !== window.shown"
    wait_for("the next answer", lambda: page.run(changed))
    still = page.run("return window.opened.open || !window.opened.isConnected")
    expect("whether it is still open", still, True)


def hostile_text_is_text(page, server):
    page.open(server.url)
    shown = "return document.querySelector('footer time').textContent"
    first = page.run(shown)
    wait_for("the next answer", lambda: page.run(shown) != first)
    expect_in("the page", "<script>document.title = 'executed'</script>", page.text())
    expect("the pictures", page.run("return document.images.length"), 0)
    expect("the scripts", page.run("return document.scripts.length"), 1)
    if "executed" in page.run("return document.title"):
        raise Failed("hostile text was executed")


def injected_scripts_do_not_run(page, server):
    page.open(server.url)
    page.console()
    page.run(
        "const image = document.createElement('div');"
        "image.innerHTML = '<img src=x onerror=\"window.executed = true\">';"
        "document.body.append(image);"
        "const script = document.createElement('script');"
        "script.textContent = 'window.executed = true';"
        "document.body.append(script)"
    )
    violation = lambda: any("Content Security Policy" in line for line in page.console())
    wait_for("a violation of the policy", violation)
    expect("whether it ran", page.run("return window.executed ?? false"), False)


def quiet_console(page, server):
    page.open(server.url)
    shown = "return document.querySelector('footer time').textContent"
    first = page.run(shown)
    wait_for("the next answer", lambda: page.run(shown) != first)
    expect("the console", page.console(), [])


def without_scripts(page, server):
    page.open(server.url)
    for part in ["team/checkout", "2nd try", "push it once more"]:
        expect_in("the page", part, page.text())
    page.run("window.same = true")
    wait_for("a page that is loaded anew", lambda: not page.run("return window.same"))
    expect_in("the page", "team/checkout", page.text())


def accessible(page, server):
    page.open(server.url)
    nodes = page.cdp("Accessibility.getFullAXTree", {})["nodes"]
    found = {}
    for node in nodes:
        role = node.get("role", {}).get("value")
        found.setdefault(role, []).append(node.get("name", {}).get("value", ""))
    for role in ["main", "banner", "contentinfo", "table", "columnheader", "row", "heading"]:
        if role not in found:
            raise Failed(f"no {role} among {sorted(map(str, found))}")
    bars = found.get("progressIndicator") or found.get("progressbar") or []
    expect("whether every progress bar has a name", bool(bars) and all(bars), True)


def silence(page, program):
    server = Server(program, "busy")
    try:
        page.open(server.url)
        before = page.text("#page")
        server.stop()
        visible = "return !document.getElementById('silence').hidden"
        wait_for("the message", lambda: page.run(visible))
        expect_in("the message", "has not answered since", page.text("#silence"))
        expect_in("the page", "team/checkout", before and page.text("#page"))
        server = Server(program, "busy", server.address)
        wait_for("the end of the message", lambda: not page.run(visible))
    finally:
        server.stop()


def main():
    program, work = sys.argv[1], pathlib.Path(sys.argv[2])
    pictures = pathlib.Path(sys.argv[3]) if len(sys.argv) > 3 else None
    passed = failed = 0

    def case(name, check, *arguments):
        nonlocal passed, failed
        try:
            check(*arguments)
            passed += 1
            print(f"ok  {name}", flush=True)
        except Exception as error:
            failed += 1
            print(f"FAIL {name}", flush=True)
            detail = str(error) if isinstance(error, Failed) else traceback.format_exc()
            print("".join(f"     {line}\n" for line in detail[:2000].splitlines()), end="")

    driver = Driver(work / "chromedriver.log")
    servers = {}
    try:
        for scene, _ in STATES:
            servers[scene] = Server(program, scene)
        busy = servers["busy"]
        for width in [NARROW, PHONE, DESK]:
            with Page(driver, width) as page:
                case(f"at {width} px everything is told", content, page, busy)
                case(f"at {width} px no row of figures has an empty cell", no_empty_cell, page, busy)
                case(f"at {width} px nothing scrolls sideways", no_scrolling_sideways, page, busy)
                case(f"at {width} px it is a table with landmarks and named bars", accessible, page, busy)
        with Page(driver, DESK) as page:
            case("progress moves without a reload", progress_moves, page, busy)
            case("what the reader opened stays open", what_the_reader_opened_stays_open, page, busy)
            case("what a job waits for is said", what_is_waited_for_is_said, page, servers["waiting"])
            case("the reader chooses among what ended", the_reader_chooses, page, busy)
            case("the last hour is drawn", an_hour_is_drawn, page, servers["failures"])
            case("dead letters are listed and lead to the runbook", letters_are_listed, page, servers["letters"])
            for scene in ["letters", "failures", "waiting"]:
                case(f"nothing scrolls sideways with {scene}", no_scrolling_sideways, page, servers[scene])
            case("hostile text is shown and not executed", hostile_text_is_text, page, busy)
            case("a script that gets into the page does not run", injected_scripts_do_not_run, page, busy)
            case("it says when the service does not answer, and recovers", silence, page, program)
        with Page(driver, DESK) as page:
            case("the console is quiet", quiet_console, page, busy)
        with Page(driver, DESK) as page:
            case("times are those of the reader's clock", times_are_the_readers, page, busy)
        with Page(driver, PHONE) as page:
            for scene in ["letters", "failures", "waiting"]:
                case(f"at {PHONE} px nothing scrolls sideways with {scene}", no_scrolling_sideways, page, servers[scene])
        with Page(driver, DESK, scripts=False) as page:
            case("without scripts it is all there and loads itself anew", without_scripts, page, busy)
        for width in [PHONE, DESK]:
            with Page(driver, width) as page:
                for scene, words in STATES:
                    name = f"at {width} px page, status, metrics and checks agree on {scene}"
                    case(name, all_say_the_same, page, servers[scene], scene, words)
        if pictures:
            pictures.mkdir(parents=True, exist_ok=True)
            for width in [PHONE, DESK]:
                for dark in [False, True]:
                    with Page(driver, width, dark=dark) as page:
                        shade = "dark" if dark else "light"
                        for scene, _ in STATES:
                            page.open(servers[scene].url)
                            page.screenshot(pictures / f"{scene}-{width}-{shade}.png")
    finally:
        for server in servers.values():
            server.stop()
        driver.stop()
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
