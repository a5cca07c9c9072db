"""A real headless Chromium, driven over its DevTools protocol through a pair of pipes (--remote-debugging-pipe).

    with Browser() as browser:
        page = browser.open("http://127.0.0.1:8004/", width=390, height=844, dark=True)
        page.run("document.title")
        page.console                    what it complained about

Needs Debian's package `chromium`, and no library: each message is a JSON object that ends with a zero byte.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from test.support.processes import PATIENCE

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
_LOOK_EVERY = 0.05


def _high(descriptor: int) -> int:
    number = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 10)
    os.close(descriptor)
    return number


class BrowserError(Exception):
    """The browser, or a script in a page, reported an error."""


class Browser:
    """One process with a profile of its own, which is gone at the end."""

    def __init__(self, *options: str) -> None:
        assert CHROMIUM is not None, "there is no chromium"
        self._profile = tempfile.TemporaryDirectory(prefix="chromium", ignore_cleanup_errors=True)
        # High numbers, which are not those that Chromium reads from (3) and writes to (4).
        theirs_in, self._to = map(_high, os.pipe())
        self._from, theirs_out = map(_high, os.pipe())
        command = [
            *(CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"),
            *(
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
                "--disable-extensions",
            ),
            *("--remote-debugging-pipe", f"--user-data-dir={self._profile.name}", *options, "about:blank"),
        ]
        script = f'exec 3<&{theirs_in} 4>&{theirs_out} {theirs_in}<&- {theirs_out}>&-; exec "$@"'
        self.process = subprocess.Popen(
            ["bash", "-c", script, "bash", *command],
            pass_fds=(theirs_in, theirs_out),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            env={**os.environ, "HOME": self._profile.name},
        )
        os.close(theirs_in)
        os.close(theirs_out)
        self._last = 0
        self._answers: dict[int, dict[str, Any]] = {}
        self._listeners: dict[str, Callable[[str, dict[str, Any]], None]] = {}
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End the browser with all its processes."""
        with suppress(BrowserError, OSError):
            self.call("Browser.close", wait=False)
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(5)
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        os.close(self._to)
        os.close(self._from)
        self._profile.cleanup()

    def open(
        self,
        url: str,
        *,
        width: int = 1280,
        height: int = 900,
        dark: bool = False,
        touch: bool = False,
        scale: float = 1,
    ) -> Page:
        """A page in a tab of its own, as soon as it is loaded."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = Page(self, session, target)
        self._listeners[session] = page.receive
        for domain in ("Page", "Runtime", "Log", "Network", "Performance"):
            page.call(f"{domain}.enable")
        size = {"width": width, "height": height, "deviceScaleFactor": scale, "mobile": touch}
        page.call("Emulation.setDeviceMetricsOverride", **size)
        page.emulate(dark=dark)
        page.call("Page.navigate", url=url)
        page.until("document.readyState === 'complete' && location.href !== 'about:blank'", "it is loaded")
        return page

    def call(self, method: str, session: str | None = None, *, wait: bool = True, **params: Any) -> dict[str, Any]:
        """What a method of the protocol answers. Raises BrowserError."""
        with self._changed:
            self._last += 1
            number = self._last
            message: dict[str, Any] = {"id": number, "method": method, "params": params}
            if session is not None:
                message["sessionId"] = session
            os.write(self._to, json.dumps(message).encode() + b"\0")
            if not wait:
                return {}
            there = self._changed.wait_for(lambda: number in self._answers, PATIENCE)
            assert there, f"the browser does not answer {method}"
            answer = self._answers.pop(number)
        if "error" in answer:
            raise BrowserError(f"{method}: {answer['error']}")
        result: dict[str, Any] = answer["result"]
        return result

    def _read(self) -> None:
        rest = b""
        while data := os.read(self._from, 1 << 16):
            *messages, rest = (rest + data).split(b"\0")
            for message in map(json.loads, messages):
                with self._changed:
                    if "id" in message:
                        self._answers[message["id"]] = message
                    elif listener := self._listeners.get(message.get("sessionId", "")):
                        listener(message["method"], message["params"])
                    self._changed.notify_all()


class Page:
    """One tab."""

    def __init__(self, browser: Browser, session: str, target: str) -> None:
        self._browser = browser
        self._session = session
        self._target = target
        self.console: list[str] = []
        """Errors and warnings: of scripts, of the policy, of requests that failed."""
        self.requested: list[str] = []
        """The addresses that it has asked for."""
        self.received = 0
        """Bytes that have come over the network."""

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        return self._browser.call(method, self._session, **params)

    def close(self) -> None:
        self._browser.call("Target.closeTarget", targetId=self._target)

    def emulate(self, *, dark: bool, reduced_motion: bool = False) -> None:
        features = [
            {"name": "prefers-color-scheme", "value": "dark" if dark else "light"},
            {"name": "prefers-reduced-motion", "value": "reduce" if reduced_motion else "no-preference"},
        ]
        self.call("Emulation.setEmulatedMedia", features=features)

    def run(self, script: str) -> Any:
        """The value of an expression, or of its promise. Raises BrowserError."""
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise BrowserError(f"{script}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def until(self, script: str, what: str, seconds: float = PATIENCE) -> Any:
        """The first true value of an expression."""
        deadline = time.monotonic() + seconds
        while not (value := self.run(script)):
            assert time.monotonic() < deadline, f"not within {seconds} s: {what}; {self.console}"
            time.sleep(_LOOK_EVERY)
        return value

    def press(self, key: str) -> None:
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key)

    def screenshot(self, path: Path, *, whole: bool = True) -> None:
        picture = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(picture["data"]))

    def metrics(self) -> dict[str, float]:
        """Of the domain Performance: JSHeapUsedSize, TaskDuration, ScriptDuration, ..."""
        return {each["name"]: each["value"] for each in self.call("Performance.getMetrics")["metrics"]}

    def receive(self, method: str, params: dict[str, Any]) -> None:
        match method:
            case "Runtime.exceptionThrown":
                self.console.append(str(params["exceptionDetails"]))
            case "Runtime.consoleAPICalled" if params["type"] in ("error", "warning", "assert"):
                self.console.append(str(params["args"]))
            case "Log.entryAdded" if params["entry"]["level"] in ("error", "warning"):
                self.console.append(f"{params['entry']['text']} {params['entry'].get('url', '')}")
            case "Network.requestWillBeSent":
                self.requested.append(params["request"]["url"])
            case "Network.dataReceived":
                self.received += max(params["encodedDataLength"], params["dataLength"])
