"""How does a page behave in a real browser? Headless Chromium, driven over its DevTools protocol on loopback."""

import base64
import contextlib
import itertools
import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

START_S = 60  # two shared cores: Chromium alone takes some seconds
NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome-headless-shell", "chromium-headless-shell")
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-extensions",
    "--no-first-run",
    "--hide-scrollbars",
)
FLAGS += ("--disable-background-networking", "--disable-dev-shm-usage", "--remote-debugging-port=0")
KEYS = {"Enter": ("\r", 13), "Tab": ("", 9), "Escape": ("", 27), "ArrowDown": ("", 40), "ArrowUp": ("", 38)}


class Browser:
    """One tab. What it logs as an error, or throws, is in `faults`."""

    def __init__(self, url):
        import websocket

        self._socket = websocket.create_connection(url, suppress_origin=True, timeout=START_S)
        self._numbers = itertools.count(1)
        self.faults = []
        self._loaded = False
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method, **parameters):
        """Sends one command and returns its result."""
        number = next(self._numbers)
        self._socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            message = self._receive()
            if message.get("id") == number:
                assert "error" not in message, message
                return message["result"]

    def _receive(self):
        message = json.loads(self._socket.recv())
        method, parameters = message.get("method"), message.get("params", {})
        if method == "Runtime.exceptionThrown":
            self.faults.append(json.dumps(parameters["exceptionDetails"]))
        elif method == "Runtime.consoleAPICalled" and parameters["type"] in ("error", "warning"):
            self.faults.append(json.dumps(parameters["args"]))
        elif method == "Log.entryAdded" and parameters["entry"]["level"] in ("error", "warning"):
            self.faults.append(parameters["entry"]["text"])
        elif method == "Page.loadEventFired":
            self._loaded = True
        return message

    def look(self, width, height, scheme="light"):
        """A window of this size (a phone below 600 px) whose reader prefers `scheme`."""
        phone = width < 600
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": phone}
        self.call("Emulation.setDeviceMetricsOverride", **metrics)
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def open(self, page):
        """Loads a file; returns the seconds until it has loaded and its scripts have run."""
        self._loaded = False
        started = time.monotonic()
        self.call("Page.navigate", url=Path(page).resolve().as_uri())
        while not self._loaded:
            self._receive()
        return time.monotonic() - started

    def run(self, script):
        """The value of a JavaScript expression."""
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def press(self, *keys):
        """Presses keys by name, or types a character."""
        for key in keys:
            text, code = KEYS.get(key, (key, ord(key[0].upper())))
            details = {"key": key, "code": key, "windowsVirtualKeyCode": code}
            self.call("Input.dispatchKeyEvent", type="keyDown", text=text, **details)
            self.call("Input.dispatchKeyEvent", type="keyUp", **details)

    def picture(self, file):
        """Writes what the window shows as a PNG."""
        Path(file).write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))

    def close(self):
        """Leaves the tab."""
        self._socket.close()


def program():
    """Where is a Chromium? None where there is none."""
    return next(filter(None, map(shutil.which, NAMES)), None)


@contextlib.contextmanager
def chromium(profile):
    """Starts a Chromium with an empty profile and yields its tab; every process of it ends with the block."""
    found = program()
    assert found, f"expected one of {', '.join(NAMES)}"
    command = [found, *FLAGS, f"--user-data-dir={profile}", "about:blank"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        browser = Browser(_tab(Path(profile), process))
        yield browser
        browser.close()
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _tab(profile, process):
    """The socket of its only tab, from the port that it writes into its profile."""
    import urllib.request

    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError, ValueError, StopIteration):
            port = int((profile / "DevToolsActivePort").read_text().partition("\n")[0])  # ValueError: not written yet
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/json", timeout=5) as answer:
                return next(tab["webSocketDebuggerUrl"] for tab in json.load(answer) if tab["type"] == "page")
        time.sleep(0.1)
    pytest.fail(f"{program()}: expected a DevTools port within {START_S} s, got none (exit code {process.poll()})")
