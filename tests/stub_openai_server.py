"""An OpenAI-compatible server on the loopback interface that misbehaves on request.

A test scripts it with a function from `Request` to `Reply`; the server counts what it saw.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from socket import SO_LINGER, SOL_SOCKET
from typing import Any

MODEL = "stub-72b"
ANSWER = "<think>The image is a little blurred.</think><answer>63</answer>"


@dataclass(frozen=True)
class Request:
    """One request as the server saw it."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]
    image: str  # sha256 of the data URL, names the image
    attempt: int  # how often this image was asked before, from 0
    index: int  # how many requests came before, from 0


@dataclass(frozen=True)
class Reply:
    """What the server does with a request."""

    body: Any = None  # bytes as they are, anything else as JSON
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0.0  # seconds before the first byte
    cut: int | None = None  # close the connection after so many bytes of the body
    reset: bool = False  # reset the connection instead of answering
    dribble: float = 0.0  # seconds between single bytes of the body


def completion(
    text: str | None = ANSWER, *, model: str = MODEL, finish_reason: str | None = "stop"
) -> dict[str, Any]:
    """A well-formed chat completion."""
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": model,
        "choices": [
            {
                "index": 0,
                "finish_reason": finish_reason,
                "message": {"role": "assistant", "content": text},
            }
        ],
        "usage": {"prompt_tokens": 9, "completion_tokens": 17, "total_tokens": 26},
    }


def ok(text: str | None = ANSWER, *, delay: float = 0.0) -> Reply:
    """A good answer."""
    return Reply(completion(text), delay=delay)


def refusal(status: int, headers: dict[str, str] | None = None) -> Reply:
    """An error answer in OpenAI's form."""
    return Reply({"error": {"message": f"stub says {status}"}}, status, headers or {})


Script = Callable[[Request], Reply]


class StubServer:
    """Runs in a thread of its own; use as a context manager.

    `requests` holds what came in, without image bodies; `per_image` how often each image was
    asked; `most_at_once` the largest number of requests that were open together.
    """

    def __init__(self, script: Script = lambda request: ok(), *, port: int = 0) -> None:
        self.script = script
        self.requests: list[Request] = []
        self.times: list[float] = []
        self.per_image: Counter[str] = Counter()
        self.n_seen = 0
        self.most_at_once = 0
        self.keep_requests = True
        self._open = 0
        self._port = port
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main()), daemon=True)

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self._port}/v1"

    def __enter__(self) -> StubServer:
        self._thread.start()
        if not self._ready.wait(10):
            raise RuntimeError("the stub server did not start")
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        server = await asyncio.start_server(self._serve, "127.0.0.1", self._port, limit=2**24)
        self._port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stop.wait()
        server.close()
        current = asyncio.current_task()
        handlers = [task for task in asyncio.all_tasks() if task is not current]
        for task in handlers:
            task.cancel()
        await asyncio.gather(*handlers, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while (request := await self._read(reader)) is not None:
                self._open += 1
                self.most_at_once = max(self.most_at_once, self._open)
                try:
                    if not await self._reply(writer, self.script(request)):
                        return
                finally:
                    self._open -= 1
        except (ConnectionError, asyncio.IncompleteReadError):
            return  # the client went away, as a killed one does
        finally:
            writer.close()

    async def _read(self, reader: asyncio.StreamReader) -> Request | None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        except asyncio.IncompleteReadError:
            return None
        lines = head.split("\r\n")
        pairs = (line.split(":", 1) for line in lines[1:] if ":" in line)
        headers = {name.strip().lower(): value.strip() for name, value in pairs}
        raw = await reader.readexactly(int(headers.get("content-length", "0")))
        url = re.search(rb"data:image/[^\"]+", raw)
        image = hashlib.sha256(url.group() if url else b"").hexdigest()
        body = json.loads(raw) if self.keep_requests and raw else {}
        path = lines[0].split(" ")[1]
        request = Request(path, headers, body, image, self.per_image[image], self.n_seen)
        self.per_image[image] += 1
        self.n_seen += 1
        if self.keep_requests:
            self.requests.append(request)
            self.times.append(time.monotonic())
        return request

    async def _reply(self, writer: asyncio.StreamWriter, reply: Reply) -> bool:
        """Answer; False when the connection is closed afterwards."""
        if reply.delay:
            await asyncio.sleep(reply.delay)
        if reply.reset:
            writer.get_extra_info("socket").setsockopt(
                SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0)
            )
            writer.transport.abort()
            return False
        raw = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
        headers = {"content-type": "application/json", "content-length": str(len(raw))}
        headers |= reply.headers
        head = f"HTTP/1.1 {reply.status} Stub\r\n"
        head += "".join(f"{name}: {value}\r\n" for name, value in headers.items()) + "\r\n"
        writer.write(head.encode("latin-1"))
        if reply.dribble:
            for byte in raw:
                writer.write(bytes([byte]))
                await writer.drain()
                await asyncio.sleep(reply.dribble)
            return True
        writer.write(raw[: reply.cut])
        await writer.drain()
        return reply.cut is None
