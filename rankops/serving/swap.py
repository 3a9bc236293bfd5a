"""Which release is served, and when another takes its place.

A *pin* is a small JSON file that names a release by digest, ``{"digest": ..., "release": FOLDER}`` or ``{"digest":
..., "uri": URL}``; whoever writes it replaces it as a whole (rename, or the symlink swap of a mounted ConfigMap). One
thread reads it every few seconds, and at once after SIGHUP. A new digest is fetched where it is a URI, verified,
loaded and warmed while the old release answers, and only then installed. A release that is refused changes nothing:
the old one stays, and the refusal is shown until the pin names one that can be served.
"""

from __future__ import annotations

import ctypes
import gc
import json
import logging
import queue
import shutil
import sys
import threading
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from rankops.errors import BadInput, RankopsError
from rankops.pace import paced
from rankops.serving.config import ServerConfig
from rankops.serving.engines import Engine, load_engine

logger = logging.getLogger(__name__)
_RETRY_SECONDS, _LONGEST_RETRY = 30.0, 600.0
"""A refused release is tried again after this time, then after twice it, and so on: it may still be uploading."""

_LOADING_SHARE = 0.2
"""Of a core, for loading the next release: at 80 % of capacity this server has twice that to spare."""


class Pin(BaseModel):
    """What should be served. A relative ``release`` starts at the pin's folder."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    digest: str = Field(pattern=r"^[0-9a-f]{64}$")
    release: Path | None = None
    uri: str | None = None

    @model_validator(mode="after")
    def _one_place(self) -> Pin:
        if (self.release is None) == (self.uri is None):
            raise ValueError("give either 'release' (a folder) or 'uri' (a store's URL)")
        return self


def read_pin(path: Path) -> Pin:
    """Read a pin. Raises :class:`BadInput` naming the file and what is wrong with it."""
    try:
        pin = Pin.model_validate(json.loads(path.read_text()))
    except OSError as error:
        raise BadInput(f"the pin {path} cannot be read: {error.strerror}", "write it, or correct --pin") from error
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'pin'}: {e['msg']}" for e in error.errors())
        raise BadInput(f"the pin {path} is wrong: {wrong}", 'write {"digest": ..., "release": ...}') from error
    except ValueError as error:
        raise BadInput(f"the pin {path} is not JSON: {error}", 'write {"digest": ..., "release": ...}') from error
    return pin if pin.release is None else pin.model_copy(update={"release": path.parent / pin.release})


class ReleaseKeeper:
    """The thread that loads releases: the first at start, and with a pin each that follows.

    ``install`` gets an engine that is ready to answer; ``refused`` the digest that was asked for (None: unknown) and
    why it is not served, or ``(None, None)`` once the pin names again what is served. Both are called on the thread.
    """

    def __init__(
        self,
        config: ServerConfig,
        *,
        install: Callable[[Engine], None],
        refused: Callable[[str | None, RankopsError | None], None],
    ) -> None:
        self._config = config
        self._install, self._refused = install, refused
        self._wakes: queue.SimpleQueue[bool] = queue.SimpleQueue()  # its put may be called from a signal handler
        self._model: str | None = None
        self._serving: str | None = None
        self._wanted: str | None = None  # digest that was tried last
        self._again = 0.0  # time after which it is tried again
        self._pause = _RETRY_SECONDS / 2
        self._told: tuple[str | None, str] | None = None  # the refusal that was told last
        self._replaced = False
        self._thread = threading.Thread(target=self._run, name="releases", daemon=True)

    def start(self) -> None:
        """Load the first release in the background."""
        self._thread.start()

    def check_now(self) -> None:
        """Read the pin at once, and try again what was refused. Safe in a signal handler."""
        self._wakes.put(True)

    def stop(self) -> None:
        """End the thread; a release that is being loaded is not waited for."""
        self._wakes.put(False)

    def _run(self) -> None:
        self._check()
        if self._config.pin is None:
            return
        while True:
            try:
                if not self._wakes.get(timeout=self._config.pin_seconds):
                    return
                self._again = 0.0
            except queue.Empty:
                if self._replaced:  # by now the last request of the old release has ended
                    self._replaced = False
                    give_memory_back()
            # The first release was waited for; the next ones come beside requests, which must not feel it.
            with nullcontext() if self._serving is None else paced(_LOADING_SHARE):
                self._check()

    def _check(self) -> None:
        """Serve what should be served; whatever goes wrong is told, and the thread goes on."""
        wanted: str | None = None
        try:
            wanted, config = self._config.digest, self._config
            if config.pin is not None:
                pin = read_pin(config.pin)
                wanted = pin.digest
                if wanted == self._serving:
                    self._forget_refusal()
                    return
                if wanted != self._wanted:
                    self._wanted, self._again, self._pause = wanted, 0.0, _RETRY_SECONDS / 2
                elif time.monotonic() < self._again:
                    return
                config = _pinned(config, pin)
            self._serve(config)
        except RankopsError as error:
            self._refuse(wanted, error)
        except Exception as error:
            logger.error("loading a release failed", exc_info=error)
            self._refuse(wanted, RankopsError(f"the release cannot be loaded: {type(error).__name__}: {error}"))

    def _serve(self, config: ServerConfig) -> None:
        started = time.perf_counter()
        engine = load_engine(config)
        manifest = engine.manifest
        if self._model not in (None, manifest.model):
            raise BadInput(
                f"release {manifest.short} is of model {manifest.model}, this server serves {self._model}",
                "pin a release of the same model; another model is another server",
            )
        if self._serving is None:
            # Code and libraries live as long as the process: no collection needs to look at them again. Not at a
            # swap: a full collection would stop everybody, and an engine is freed without one.
            gc.collect()
            gc.freeze()
        self._model, self._serving = manifest.model, manifest.digest
        self._install(engine)
        seconds = time.perf_counter() - started
        logger.info(
            "serving %s release %s: %s, ready after %.2f s", manifest.model, manifest.digest, engine.summary, seconds
        )
        self._forget_refusal()
        del engine
        _remove_others(self._config, manifest.digest)
        self._replaced = True

    def _refuse(self, wanted: str | None, error: RankopsError) -> None:
        self._pause = min(2 * self._pause, _LONGEST_RETRY)
        self._again = time.monotonic() + self._pause
        if (told := (wanted, error.problem)) == self._told:
            return
        self._told = told
        if self._serving is not None:
            logger.error("release %s is refused, %s stays: %s", wanted, self._serving, error.problem)
        self._refused(wanted, error)

    def _forget_refusal(self) -> None:
        self._told = None
        self._wanted, self._again, self._pause = self._serving, 0.0, _RETRY_SECONDS / 2
        self._refused(None, None)


def _pinned(config: ServerConfig, pin: Pin) -> ServerConfig:
    """The settings with the pin's release, fetched where the pin says where from."""
    folder = pin.release
    if folder is None:
        from rankops.release.fetch import fetch

        if config.releases is None:
            raise BadInput("the pin names a URI, and there is no folder to fetch it into", "give --releases")
        folder = config.releases / pin.digest
        fetch(str(pin.uri), folder, digest=pin.digest, public_key=config.public_key)
    return config.model_copy(update={"release": folder, "digest": pin.digest})


def _remove_others(config: ServerConfig, serving: str) -> None:
    """Remove what was fetched for earlier pins: maps of removed files stay valid until their engine is gone."""
    if config.pin is None or config.releases is None or not config.releases.is_dir():
        return
    for folder in config.releases.iterdir():
        if folder.name != serving and len(folder.name) == len(serving):
            shutil.rmtree(folder, ignore_errors=True)


def give_memory_back() -> None:
    """Hand pages that the allocator keeps after a large release was dropped back to the system (glibc only)."""
    if sys.platform == "linux":
        try:
            ctypes.CDLL(None).malloc_trim(0)
        except (AttributeError, OSError):  # another libc keeps its own house
            return
