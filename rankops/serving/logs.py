"""Log lines: one an event, as text or as JSON, and never a query in them.

Queries are personal data more often than not, and an exception's message may hold one: of an exception its type and its
places in the code are told, and its message only where it is of a kind that speaks of files and releases. Python's
warnings, threads that die and uvicorn's own loggers take the same way out.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
import traceback
import warnings
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from rankops.errors import RankopsError
from rankops.serving.observed import current

Form = Literal["text", "json"]

_SPEAKS_OF_NO_QUERY = (RankopsError, OSError, ImportError, MemoryError)
_FRAMES = 8
_CHAIN = 5


def configure(form: Form, level: int = logging.INFO) -> None:
    """Send every log record of the process to standard error in this form."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if form == "json" else TextLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    # What others log below this level is about connections, and may name paths.
    for chatty in ("urllib3", "requests", "asyncio", "websockets"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    logging.captureWarnings(capture=True)
    warnings.simplefilter("once", ResourceWarning)
    sys.excepthook = _uncaught
    threading.excepthook = lambda hook: _uncaught(hook.exc_type, hook.exc_value, hook.exc_traceback)


class _Lines(logging.Formatter):
    """A record as a mapping: what it says, of which request, with which facts (``extra={"facts": {...}}``)."""

    def facts(self, record: logging.LogRecord) -> dict[str, Any]:
        found: dict[str, Any] = {}
        seen = current()
        if seen is not None:
            found |= {"request_id": seen.request_id, "endpoint": seen.endpoint}
            found |= {"trace_id": seen.trace_id} if seen.trace_id else {}
            found |= {"release": seen.release} if seen.release else {}
        found |= getattr(record, "facts", {})
        if record.exc_info and record.exc_info[1] is not None:
            found["exception"] = describe(record.exc_info[1])
        return found


class JsonLines(_Lines):
    """One JSON object a line: time (UTC), level, logger, message, and the facts."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        head = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        return json.dumps(head | self.facts(record), ensure_ascii=False, default=str)


class TextLines(_Lines):
    """``time LEVEL logger: message key=value ...``, without line breaks."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        facts = " ".join(f"{key}={_value(value)}" for key, value in self.facts(record).items())
        line = f"{self.formatTime(record)} {record.levelname} {record.name}: {record.getMessage()} {facts}".rstrip()
        return line.replace("\r", "\\r").replace("\n", "\\n")


def describe(error: BaseException) -> str:
    """Type and places of an exception and of what led to it, without messages that may hold a query.

    >>> describe(ValueError("order of jane@example.org"))
    'ValueError (message left out: it may hold a query)'
    """
    return " <- ".join(_one(link) for link in _chain(error))


def _chain(error: BaseException) -> Iterator[BaseException]:
    link: BaseException | None = error
    for _ in range(_CHAIN):
        if link is None:
            return
        yield link
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)


def _one(error: BaseException) -> str:
    told = f": {error}" if isinstance(error, _SPEAKS_OF_NO_QUERY) else " (message left out: it may hold a query)"
    frames = traceback.extract_tb(error.__traceback__)[-_FRAMES:]
    places = " > ".join(f"{_short(f.filename)}:{f.lineno} {f.name}" for f in frames)
    return f"{type(error).__name__}{told}" + (f" at {places}" if places else "")


def _short(filename: str) -> str:
    return "/".join(Path(filename).parts[-2:])


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return ",".join(f"{key}:{_value(inner)}" for key, inner in value.items())
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return json.dumps(text, ensure_ascii=False) if " " in text else text


def _uncaught(kind: type[BaseException], error: BaseException | None, trace: TracebackType | None) -> None:
    if error is not None and issubclass(kind, Exception):
        logging.getLogger("rankops").critical("uncaught exception", exc_info=(kind, error, trace))
