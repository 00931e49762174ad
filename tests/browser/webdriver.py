"""A small client of chromedriver, by the W3C WebDriver protocol and Chromium's extensions of it."""

import base64
import json
import pathlib
import re
import shutil
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
]


class Failed(Exception):
    """A check failed."""


def wait_for(what, check, seconds=15):
    """Repeats a check until its result is true."""
    end = time.monotonic() + seconds
    while not (result := check()):
        if time.monotonic() > end:
            raise Failed(f"{what} did not come within {seconds} s")
        time.sleep(0.1)
    return result


class Driver:
    """A chromedriver process."""

    def __init__(self, log):
        self.process = subprocess.Popen(
            ["chromedriver", "--port=0", f"--log-path={log}"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
        )
        for line in self.process.stdout:
            if found := re.search(r"started successfully on port (\d+)", line):
                self.base = f"http://127.0.0.1:{found[1]}"
                return
        raise Failed("chromedriver does not start")

    def call(self, method, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        headers = {"content-type": "application/json"}
        request = urllib.request.Request(self.base + path, data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                return json.load(response)["value"]
        except urllib.error.HTTPError as error:
            raise Failed(json.load(error)["value"]["message"]) from error

    def stop(self):
        self.process.terminate()
        self.process.wait()


class Page:
    """A browser with one window."""

    def __init__(self, driver, width, height=900, dark=False, scripts=True):
        self.driver = driver
        self.profile = tempfile.mkdtemp(prefix="chromium-")
        session = driver.call(
            "POST",
            "/session",
            {
                "capabilities": {
                    "alwaysMatch": {
                        "browserName": "chrome",
                        "goog:loggingPrefs": {"browser": "ALL"},
                        "goog:chromeOptions": {
                            "args": FLAGS + [f"--user-data-dir={self.profile}"],
                        },
                    }
                }
            },
        )
        self.path = f"/session/{session['sessionId']}"
        # The window itself has a least width that is larger than a phone's.
        self.cdp(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500},
        )
        # What the driver itself runs in the page is not affected.
        self.cdp("Emulation.setScriptExecutionDisabled", {"value": not scripts})
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.cdp("Emulation.setEmulatedMedia", {"features": [scheme]})

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.driver.call("DELETE", self.path)
        shutil.rmtree(self.profile, ignore_errors=True)

    def cdp(self, command, parameters):
        path = f"{self.path}/goog/cdp/execute"
        return self.driver.call("POST", path, {"cmd": command, "params": parameters})

    def open(self, url):
        self.driver.call("POST", f"{self.path}/url", {"url": url})

    def run(self, script, *arguments):
        """The result of a function's body in the page."""
        path = f"{self.path}/execute/sync"
        return self.driver.call("POST", path, {"script": script, "args": list(arguments)})

    def text(self, selector="body"):
        return self.run("return document.querySelector(arguments[0])?.innerText ?? ''", selector)

    def console(self):
        """What the browser's console has shown since the last call."""
        entries = self.driver.call("POST", f"{self.path}/se/log", {"type": "browser"})
        return [entry["message"] for entry in entries]

    def screenshot(self, file):
        size = self.cdp("Page.getLayoutMetrics", {})["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        picture = self.cdp("Page.captureScreenshot", {"captureBeyondViewport": True, "clip": clip})
        pathlib.Path(file).write_bytes(base64.b64decode(picture["data"]))
