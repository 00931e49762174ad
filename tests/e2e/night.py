#!/usr/bin/env python3
"""Watches a worker through a night, and holds what it says of itself against itself.

night.py PORT LOG STOP REPORT: asks the worker on 127.0.0.1:PORT again and again for its page, `/status`, `/status.txt`,
`/readyz` and `/metrics`, and reads its LOG, until the file STOP is there. At each moment all of them have to tell the same
state. One that changes while it is asked says nothing, so a moment counts when `/status` says the same before and after.

REPORT gets one JSON object: how many moments counted for each state, and every disagreement. The exit code is 1 with one.
"""

import html
import json
import pathlib
import re
import sys
import time
import urllib.error
import urllib.request

PERIOD = 0.25
MOST_TOLD = 20
# What the page says in each state that is no ordinary one.
WORDS = {
    "starting": "starting",
    "idle": "idle",
    "working": "working",
    "queue-unreachable": "queue unreachable",
    "registry-unreachable": "registry unreachable",
    "draining": "draining",
    "stuck": "stuck",
}
BANNERS = {
    "queue-unreachable": "The live queue does not answer",
    "registry-unreachable": "The registry is away",
    "draining": "Told to stop",
}
STATE = re.compile(r'^soci_index_builder_state\{state="([^"]+)"\} (\S+)$', re.MULTILINE)


class Log:
    """What the lines of the log come to, read as far as they are written."""

    def __init__(self, path):
        self.path = path
        self.read = 0
        self.rest = b""
        self.queue_away = self.outage = self.draining = False

    def follow(self):
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            file.seek(self.read)
            new = file.read()
        self.read += len(new)
        *lines, self.rest = (self.rest + new).split(b"\n")
        for line in lines:
            try:
                self.take(json.loads(line))
            except ValueError:
                pass

    def take(self, line):
        message, lane = line.get("message", ""), line.get("lane")
        if message == "worker started":
            self.queue_away = self.outage = self.draining = False
        elif lane == "live" and message.startswith(("the queue does not answer", "the queue cannot be used")):
            self.queue_away = True
        elif lane == "live" and message == "the queue answers again":
            self.queue_away = False
        elif line.get("outage"):
            self.outage = line["outage"] != "ended"
        elif message == "draining":
            self.draining = True

    def agrees(self, state):
        if state in ("draining", "stuck", "starting"):
            return self.draining == (state == "draining")
        if state == "queue-unreachable":
            return self.queue_away
        if state == "registry-unreachable":
            return self.outage and not self.queue_away
        return not self.queue_away and not self.outage


def ask(port, path):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def moment(port, log):
    """The state, and what disagrees with it; None if it changed meanwhile."""
    before = json.loads(ask(port, "/status")[1])["service"]["state"]
    _, page = ask(port, "/")
    ready, words = ask(port, "/readyz")
    _, text = ask(port, "/status.txt")
    _, metrics = ask(port, "/metrics")
    live, _ = ask(port, "/livez")
    log.follow()
    after = json.loads(ask(port, "/status")[1])
    state = after["service"]["state"]
    if state != before:
        return None
    page = html.unescape(re.sub(r"<(script|style)>.*?</\1>", "", page, flags=re.DOTALL))
    told = [name for name, value in STATE.findall(metrics) if float(value) == 1]
    wrong = []
    if f'is-{state}' not in page or WORDS[state] not in page:
        wrong.append("the page has another state")
    for other, banner in BANNERS.items():
        if state == other and banner not in page:
            wrong.append(f"the page lacks {banner!r}")
    if state in ("working", "idle") and any(banner in page for banner in BANNERS.values()):
        wrong.append("the page has a banner")
    if (ready == 200) != (state in ("working", "idle")):
        wrong.append(f"/readyz answers {ready}")
    if ready != 200 and not words.startswith(f"{state}:"):
        wrong.append(f"/readyz says {words!r}")
    if live != 200:
        wrong.append(f"/livez answers {live}")
    if told != [state]:
        wrong.append(f"/metrics has {told}")
    if not text.startswith(f"{state}:"):
        wrong.append(f"/status.txt says {text.splitlines()[0]!r}")
    if not log.agrees(state):
        wrong.append(f"the log says queue away {log.queue_away}, outage {log.outage}, draining {log.draining}")
    return state, wrong


def main():
    port, log, stop, report = sys.argv[1], Log(pathlib.Path(sys.argv[2])), pathlib.Path(sys.argv[3]), sys.argv[4]
    moments, wrong, silent = {}, [], 0
    while not stop.exists():
        try:
            seen = moment(port, log)
        except (OSError, ValueError, KeyError):
            # Between two workers nobody answers.
            silent += 1
            seen = None
        if seen:
            state, errors = seen
            moments[state] = moments.get(state, 0) + 1
            wrong += [f"{time.strftime('%T')} {state}: {error}" for error in errors]
        time.sleep(PERIOD)
    pathlib.Path(report).write_text(json.dumps({"moments": moments, "silent": silent, "wrong": wrong[:MOST_TOLD]}))
    return 1 if wrong else 0


sys.exit(main())
