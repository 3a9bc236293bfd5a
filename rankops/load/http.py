"""HTTP/1.1 by hand: requests as bytes that are made once, and how much of an answer has come."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from rankops.errors import BadInput


@dataclass(frozen=True)
class Target:
    """Where requests go. ``prefix`` is the path of the base URL, without a slash at the end."""

    host: str
    port: int
    prefix: str = ""

    @classmethod
    def parse(cls, url: str) -> Target:
        """From ``http://host:port/prefix``. Raises :class:`BadInput` for anything else, TLS included."""
        try:
            parts = urlsplit(url)
            port = parts.port or 80
        except ValueError as error:
            raise BadInput(f"{url!r} is no address: {error}", "give http://host:port") from error
        if parts.scheme != "http" or not parts.hostname:
            raise BadInput(f"{url!r} is no plain HTTP address", "give http://host:port; TLS would be measured with it")
        return cls(parts.hostname, port, parts.path.rstrip("/"))

    def post(self, path: str, body: Any, headers: str = "") -> bytes:
        """A POST of a JSON value; ``headers`` are whole lines, each with its CRLF."""
        content = json.dumps(body).encode()
        head = (
            f"POST {self.prefix}{path} HTTP/1.1\r\nHost: {self.host}:{self.port}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n{headers}\r\n"
        )
        return head.encode("ascii") + content


def read_bodies(file: Path, field: str = "query") -> list[dict[str, Any]]:
    """Request bodies from a file: JSON lines as they are; a TSV's column ``query``; else one query a line.

    Raises :class:`BadInput` for a file that is missing or holds none.
    """
    try:
        lines = [line for line in file.read_text(encoding="utf-8").split("\n") if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{file} cannot be read: {error}", "give a file with one query a line") from error
    header = lines[0].split("\t") if lines else []
    try:
        if file.suffix in (".jsonl", ".ndjson"):
            bodies = [json.loads(line) for line in lines]
        elif field in header and len(header) > 1:
            column = header.index(field)
            bodies = [{field: line.split("\t")[column]} for line in lines[1:]]
        else:
            bodies = [{field: line.strip()} for line in lines]
    except (ValueError, IndexError) as error:
        raise BadInput(
            f"{file}: {error}", "give JSON lines, a TSV with a column 'query', or one query a line"
        ) from error
    if not bodies:
        raise BadInput(f"{file} has no query", "give a file with one query a line")
    return bodies


@dataclass(slots=True)
class Answer:
    """The bytes of one answer as they come; reused for the next one on the connection."""

    buffer: bytearray
    status: int = 0
    end: int = -1  # bytes of the whole answer once the head is read; -2: chunked; -3: until the connection closes
    head: int = 0
    close: bool = False

    def reset(self) -> None:
        """Forget the answer."""
        self.buffer.clear()
        self.status, self.end, self.head, self.close = 0, -1, 0, False

    def complete(self) -> bool:
        """Whether the whole answer is there. Raises :class:`ValueError` for what is no HTTP/1.x."""
        if self.end == -1 and not self._read_head():
            return False
        if self.end == -2:
            return self.buffer.endswith(b"0\r\n\r\n")
        return 0 <= self.end <= len(self.buffer)

    def header(self, name: bytes) -> bytes | None:
        """A header's value; ``name`` in lower case."""
        head = bytes(self.buffer[: self.head]).lower()
        at = head.find(b"\r\n" + name + b":")
        if at < 0:
            return None
        begin = at + len(name) + 3
        return bytes(self.buffer[begin : head.index(b"\r\n", begin)]).strip()

    def _read_head(self) -> bool:
        while True:
            at = self.buffer.find(b"\r\n\r\n")
            if at < 0:
                return False
            self.head = at + 4
            self.status = int(self.buffer[9:12])
            if not self.buffer.startswith(b"HTTP/1.") or not 100 <= self.status <= 599:
                raise ValueError("no HTTP/1.x answer")
            if self.status >= 200:
                break
            del self.buffer[: self.head]  # 1xx: the answer follows
        self.end = self._length()
        return True

    def _length(self) -> int:
        self.close = (self.header(b"connection") or b"").lower() == b"close"
        if self.status in (204, 304):
            return self.head
        if (length := self.header(b"content-length")) is not None:
            return self.head + int(length)
        if b"chunked" in (self.header(b"transfer-encoding") or b""):
            return -2
        self.close = True
        return -3


def encode_all(target: Target, path: str, bodies: Sequence[dict[str, Any]]) -> list[bytes]:
    """One POST a body."""
    return [target.post(path, body) for body in bodies]
