"""Headless Chromium for tests, driven over its DevTools protocol."""

import asyncio
import base64
import contextlib
import itertools
import pathlib
import shutil
import time

import aiohttp
import pytest

_NAMES = ("chromium", "chromium-browser", "google-chrome")
_FLAGS = (
    "--headless=new",
    "--no-sandbox",  # the tests may run as root, whom the sandbox refuses
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-port=0",
)
_PATIENCE = 90.0  # seconds for anything on the page


def chromium_path():
    """The program, or the calling test is skipped."""
    for name in _NAMES:
        if path := shutil.which(name):
            return path
    pytest.skip("Chromium is not installed; on Debian it is the package chromium")


class Page:
    """One page of a browser.

    Attributes:
        problems: errors and warnings of its scripts, and what its security policy refused.
    """

    def __init__(self, socket):
        self.problems = []
        self._socket = socket
        self._numbers = itertools.count(1)
        self._waiting = {}
        self._reader = asyncio.ensure_future(self._read())

    async def call(self, method, **arguments):
        """Calls a method of the DevTools protocol."""
        number = next(self._numbers)
        self._waiting[number] = asyncio.get_running_loop().create_future()
        await self._socket.send_json({"id": number, "method": method, "params": arguments})
        return await asyncio.wait_for(self._waiting[number], _PATIENCE)

    async def open(self, url, width=1400, height=1000, dark=False):
        """Opens an address at a size in CSS pixels."""
        for domain in ("Runtime", "Log", "Page"):
            await self.call(f"{domain}.enable")
        await self.resize(width, height, dark)
        await self.call("Page.navigate", url=url)
        await self.wait_for("location.protocol === 'http:' && document.readyState === 'complete'")

    async def resize(self, width, height, dark=False):
        await self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await self.call("Emulation.setEmulatedMedia", features=[scheme])

    async def value(self, expression):
        """The value of a JavaScript expression."""
        answer = await self.call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    async def wait_for(self, expression):
        """Waits until a JavaScript expression is true; returns its value."""
        end = time.monotonic() + _PATIENCE
        while not (value := await self.value(expression)):
            assert time.monotonic() < end, f"{expression} did not become true"
            await asyncio.sleep(0.1)
        return value

    async def type(self, text):
        await self.call("Input.insertText", text=text)

    async def key(self, key):
        for kind in ("keyDown", "keyUp"):
            await self.call("Input.dispatchKeyEvent", type=kind, key=key)

    async def mouse(self, kind, x, y, **arguments):
        await self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, **arguments)

    async def drag(self, x, y, **data):
        """Drags in from another program and drops: `files`, paths, or `items`."""
        data = {"items": [], "dragOperationsMask": 1, **data}
        for kind in ("dragEnter", "dragOver", "drop"):
            await self.call("Input.dispatchDragEvent", type=kind, x=x, y=y, data=data)

    async def screenshot(self, path):
        """Writes a PNG of the whole page."""
        answer = await self.call("Page.captureScreenshot", captureBeyondViewport=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(answer["data"]))

    async def close(self):
        self._reader.cancel()
        await self._socket.close()

    async def _read(self):
        async for message in self._socket:
            fields = message.json()
            if "id" in fields:
                future = self._waiting.pop(fields["id"])
                if "error" in fields:
                    future.set_exception(AssertionError(fields["error"]["message"]))
                else:
                    future.set_result(fields["result"])
            elif fields["method"] == "Runtime.exceptionThrown":
                self.problems.append(fields["params"]["exceptionDetails"])
            elif fields["method"] == "Log.entryAdded":
                self.problems.append(fields["params"]["entry"]["text"])


@contextlib.asynccontextmanager
async def browser(directory):
    """Starts Chromium with its files in a directory; gives a function that opens a new `Page`."""
    process = await asyncio.create_subprocess_exec(
        chromium_path(),
        *_FLAGS,
        f"--user-data-dir={directory}",
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    pages = []
    try:
        port = await _port(pathlib.Path(directory) / "DevToolsActivePort")
        async with aiohttp.ClientSession() as session:

            async def new_page():
                async with session.put(f"http://127.0.0.1:{port}/json/new?about:blank") as answer:
                    address = (await answer.json())["webSocketDebuggerUrl"]
                pages.append(Page(await session.ws_connect(address, max_msg_size=0)))
                return pages[-1]

            yield new_page
            for page in pages:
                await page.close()
    finally:
        process.terminate()
        await process.wait()


async def _port(path):
    end = time.monotonic() + _PATIENCE
    while not (path.exists() and path.read_text()):
        assert time.monotonic() < end, "Chromium did not start"
        await asyncio.sleep(0.1)
    return int(path.read_text().split()[0])
