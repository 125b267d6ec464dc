"""Chromium without a window, driven over a pipe by its DevTools protocol; and axe-core, which npm brings into a cache."""

import base64
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

import pytest

AXE = "axe-core@4.14.1"
FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--hide-scrollbars", "--remote-debugging-pipe",
)  # fmt: skip


def path():
    """Where Chromium is; the test is left out on a machine that has none."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not found:
        pytest.skip("no Chromium on this machine: install the package `chromium` to look at the page")
    return found


def axe():
    """The source of axe-core (MPL-2.0, which is why it is not in this repository)."""
    cache = Path(tempfile.gettempdir()) / f"holdfast-tests-{os.getuid()}"
    packed = cache / f"{AXE.replace('@', '-')}.tgz"
    if not packed.is_file():
        if not shutil.which("npm"):
            pytest.skip("no npm on this machine: install the package `npm`, which brings axe-core")
        cache.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as new:
            done = subprocess.run(
                ["npm", "pack", "--silent", AXE], cwd=new, capture_output=True, text=True, timeout=120, check=False
            )
            if done.returncode:
                pytest.skip(f"npm could not bring {AXE}: {done.stderr[-300:]}")
            (Path(new) / packed.name).rename(packed)
    with tarfile.open(packed) as archive:
        return archive.extractfile("package/axe.min.js").read().decode()


class Chromium:
    """One browser. `with Chromium(folder) as browser: page = browser.open(file)`."""

    def __init__(self, folder):
        to_read, self.to = os.pipe()
        self.back, to_write = os.pipe()
        # Chromium reads commands from 3 and writes to 4; a shell puts the pipes there.
        command = ["bash", "-c", f'exec "$@" 3<&{to_read} 4>&{to_write}', "bash", path(), *FLAGS]
        self.process = subprocess.Popen(
            [*command, f"--user-data-dir={folder}/user"], pass_fds=(to_read, to_write),
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(to_read)
        os.close(to_write)
        self.number, self.read, self.events = 0, b"", []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        os.close(self.to)
        os.close(self.back)

    def call(self, method, session=None, **parameters):
        """The result of one call. Events that come meanwhile are kept."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters} | (
            {"sessionId": session} if session else {}
        )
        text = json.dumps(message).encode() + b"\0"
        while text:
            text = text[os.write(self.to, text) :]
        while True:
            answer = self.next()
            if answer.get("id") == self.number:
                assert "error" not in answer, (method, answer["error"])
                return answer["result"]
            self.events.append(answer)

    def next(self):
        """The next message."""
        while b"\0" not in self.read:
            piece = os.read(self.back, 1 << 20)
            assert piece, "Chromium has ended"
            self.read += piece
        text, _, self.read = self.read.partition(b"\0")
        return json.loads(text)

    def open(self, file, width=1280, height=800, scheme="light", scripts=True, bypass=False):
        """A page that has loaded a file, or an address of this machine."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        page = Page(self, self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"])
        for domain in ("Page", "Runtime", "Network", "Log"):
            page.call(f"{domain}.enable")
        page.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        page.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        page.call("Emulation.setScriptExecutionDisabled", value=not scripts)
        page.call("Page.setBypassCSP", enabled=bypass)
        address = file if str(file).startswith("http://") else Path(file).resolve().as_uri()
        page.call("Page.navigate", url=address)
        page.wait("Page.loadEventFired")
        return page


class Page:
    """One tab."""

    def __init__(self, browser, session):
        self.browser, self.session = browser, session

    def call(self, method, **parameters):
        """The result of one call to this tab."""
        return self.browser.call(method, self.session, **parameters)

    def events(self, *methods):
        """What has happened in this tab."""
        return [event["params"] for event in self.browser.events
                if event.get("method") in methods and event.get("sessionId") == self.session]  # fmt: skip

    def wait(self, method):
        """Wait until an event has come."""
        while not self.events(method):
            self.browser.events.append(self.browser.next())

    def run(self, script):
        """The value of an expression or a promise."""
        done = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in done, done["exceptionDetails"]
        return done["result"].get("value")

    def faults(self):
        """What the console complains of."""
        return [*self.events("Runtime.exceptionThrown"),
                *(e for e in self.events("Log.entryAdded") if e["entry"]["level"] in ("error", "warning"))]  # fmt: skip

    def requests(self):
        """The addresses that were asked for."""
        return [event["request"]["url"] for event in self.events("Network.requestWillBeSent")]

    def pdf(self):
        """The page as it prints."""
        return base64.b64decode(self.call("Page.printToPDF", preferCSSPageSize=True)["data"])
