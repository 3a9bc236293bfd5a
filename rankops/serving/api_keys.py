"""API keys: a file of names and hashes, read again whenever it changes.

A key is ``rk_`` and 256 random bits, made by ``rankops api-key new``, never chosen by a person: that is why one SHA-256
without salt is enough (there is no dictionary to try), and why anything of another form is refused unseen. The file has
one key a line, and what it may do::

    # name  hash                    options
    shop    sha256:9f86d081...      rate=200
    batch   sha256:60303ae2...      rate=20 expires=2027-01-31

``rate`` is requests a second (of each replica), ``expires`` the first day (UTC) on which the key is refused. Two lines
of one name are two keys of it, which is how a key is rotated: add the new one, hand it out, remove the old one.
"""

from __future__ import annotations

import hashlib
import hmac
import math
import re
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path

from rankops.errors import BadInput

PREFIX = "rk_"
MAX_KEYS = 1000
"""Lines of a file: each name becomes a label in metrics."""
_SECRET_BYTES = 32
_KEY = re.compile(rf"{PREFIX}[A-Za-z0-9_-]{{43}}")
_LINE = re.compile(r"(?P<name>[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?)\s+sha256:(?P<digest>[0-9a-f]{64})(?P<options>.*)")
_RATE = re.compile(r"\d{1,6}(?:\.\d{1,3})?")
_FORM = "a line is 'NAME sha256:HEX [rate=N] [expires=YYYY-MM-DD]', as `rankops api-key new NAME` prints it"


@dataclass(frozen=True)
class Key:
    """One line: who may ask (``name``), what the key hashes to, and how often and how long it may ask."""

    name: str
    digest: bytes
    rate: float | None = None
    expires: date | None = None

    def line(self) -> str:
        """The line of the file."""
        rate = "" if self.rate is None else f" rate={self.rate:g}"
        return f"{self.name} sha256:{self.digest.hex()}{rate}" + (f" expires={self.expires}" if self.expires else "")


def new_key(name: str, rate: float | None = None, expires: date | None = None) -> tuple[str, Key]:
    """A new secret, and what the file says of it. Raises :class:`BadInput` for a name or rate that no file may have."""
    secret = PREFIX + secrets.token_urlsafe(_SECRET_BYTES)
    key = Key(name, hash_key(secret), rate, expires)
    return secret, parse_line(key.line())


def hash_key(secret: str) -> bytes:
    """SHA-256."""
    return hashlib.sha256(secret.encode()).digest()


def parse_line(line: str) -> Key:
    """Raises :class:`BadInput` saying what is wrong, without repeating the line: somebody may have put a key there."""
    match = _LINE.fullmatch(line.strip())
    if match is None:
        raise BadInput("it is not of the form of a key", _FORM)
    rate, expires = None, None
    for option in match["options"].split():
        name, _, value = option.partition("=")
        if name == "rate" and _RATE.fullmatch(value) and float(value) > 0:
            rate = float(value)
        elif name == "expires":
            expires = _day(value)
        else:
            raise BadInput(f"its option {name[:16]!r} is unknown or has no right value", _FORM)
    return Key(match["name"], bytes.fromhex(match["digest"]), rate, expires)


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise BadInput("its day in 'expires' is no day", _FORM) from None


def parse_keys(text: str, source: str) -> tuple[Key, ...]:
    """The keys of a file. Raises :class:`BadInput` naming the line; a file without a key is broken too."""
    keys: list[Key] = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        try:
            keys.append(parse_line(line))
        except BadInput as error:
            raise BadInput(f"{source}, line {number}: {error.problem}", error.remedy) from None
    if not 0 < len(keys) <= MAX_KEYS:
        raise BadInput(f"{source} has {len(keys)} keys; 1 to {MAX_KEYS} are allowed", _FORM)
    if len({key.digest for key in keys}) < len(keys):
        raise BadInput(f"{source} has a key twice", "remove one of the lines")
    return tuple(keys)


@dataclass
class Bucket:
    """Tokens that come at ``rate`` a second; as many as come in one second (at least one) may wait for use."""

    rate: float
    tokens: float = field(init=False)
    at: float = field(init=False)

    def __post_init__(self) -> None:
        self.tokens, self.at = max(1.0, self.rate), time.monotonic()

    def take(self, now: float) -> int:
        """0 when there was a token, else the seconds (rounded up) until there is one."""
        self.tokens = min(max(1.0, self.rate), self.tokens + (now - self.at) * self.rate)
        self.at = now
        if self.tokens >= 1.0:
            self.tokens -= 1.0
            return 0
        return math.ceil((1.0 - self.tokens) / self.rate)


class KeyRing:
    """The keys of a file as it is now. A file that turns bad changes nothing: the keys before it stay.

    ``on_reload`` is told the names after a change, or the :class:`BadInput` that kept the old keys. Used by the event
    loop only. The file is looked at no more often than once in ``every`` seconds, and only when somebody asks.
    """

    def __init__(
        self, path: Path, on_reload: Callable[[Sequence[str] | BadInput], None] = lambda _: None, every: float = 1.0
    ) -> None:
        self._path, self._on_reload, self._every = path, on_reload, every
        self._buckets: dict[tuple[str, float], Bucket] = {}
        self._seen = _signature(path)
        self._looked = time.monotonic()
        self._take(self._read())

    def find(self, secret: str) -> Key | None:
        """The key that this secret is, valid today; compared in constant time."""
        self.refresh()
        if _KEY.fullmatch(secret) is None:
            return None
        digest, today = hash_key(secret), datetime.now(UTC).date()
        # Hashes that share their first bytes tell nothing about a secret; the whole is compared in constant time.
        for key in self._by_prefix.get(digest[:4], ()):
            if hmac.compare_digest(key.digest, digest) and (key.expires is None or today < key.expires):
                return key
        return None

    def wait(self, key: Key) -> int:
        """Seconds until this key may ask again; 0 when it may, which counts."""
        if key.rate is None:
            return 0
        bucket = self._buckets.get((key.name, key.rate))
        if bucket is None:
            bucket = self._buckets[key.name, key.rate] = Bucket(key.rate)
        return bucket.take(time.monotonic())

    def refresh(self) -> None:
        """Read the file again when it is another one by now."""
        now = time.monotonic()
        if now - self._looked < self._every:
            return
        self._looked = now
        seen = _signature(self._path)
        if seen == self._seen:
            return
        self._seen = seen
        try:
            self._take(self._read())
        except BadInput as error:
            self._on_reload(error)

    def _read(self) -> tuple[Key, ...]:
        try:
            text = self._path.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            remedy = "give --api-keys a file that this process may read"
            raise BadInput(f"the API keys {self._path} cannot be read: {type(error).__name__}", remedy) from error
        return parse_keys(text, str(self._path))

    def _take(self, keys: tuple[Key, ...]) -> None:
        self._by_prefix: dict[bytes, list[Key]] = {}
        for key in keys:
            self._by_prefix.setdefault(key.digest[:4], []).append(key)
        kept = {(key.name, key.rate) for key in keys}
        self._buckets = {name: bucket for name, bucket in self._buckets.items() if name in kept}
        self._on_reload(sorted({key.name for key in keys}))


def _signature(path: Path) -> tuple[int, ...] | None:
    """What changes with the file; a mounted Secret changes by a symbolic link to another folder."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return (stat.st_dev, stat.st_ino, stat.st_mtime_ns, stat.st_size)
