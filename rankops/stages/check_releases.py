"""The release that an overlay pins: fetched from its URI, verified with the tree's key, and fit for the overlay."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlparse

from rankops.errors import IntegrityError, RankopsError, RemoteUnavailable
from rankops.overlays.component import ReleasePin
from rankops.overlays.evidence import objections
from rankops.overlays.quarantine import Quarantine
from rankops.stages.check_results import Problem
from rankops.store import fetch_folder

if TYPE_CHECKING:
    from rankops.release.manifest import ReleaseManifest
    from rankops.stages.check_rendering import Built

_UNTRUSTED = "deploy a release from the store of this repository, or allow its store with --store"
_ELSEWHERE = "give this machine read access to the store, or pass --no-releases"


@dataclass(frozen=True)
class Bundle:
    """What became of looking at one release: its verified manifest, or why there is none.

    ``unreachable`` tells that nothing is known of it, as opposed to something being wrong with it.
    """

    manifest: ReleaseManifest | None
    problem: str | None = None
    remedy: str | None = None
    rule: str = "signature"
    unreachable: bool = False


@dataclass(frozen=True)
class Checked:
    """What is known of an overlay's release, in a few words, and what is wrong with it."""

    state: str
    problems: tuple[Problem, ...] = ()


class ReleaseChecker:
    """Looks at each release once. ``required`` True: it must be reachable; None: where it is; False: never.

    ``stores`` are the only roots that releases may come from (none given: any). Downloads go to ``cache``.
    """

    def __init__(
        self, required: bool | None, stores: Sequence[str], cache: Path, progress: Callable[[str], None]
    ) -> None:
        self._required, self._cache, self._progress = required, cache, progress
        self._stores = tuple(store.rstrip("/") + "/" for store in stores)
        self._known: dict[tuple[str, str, str], Bundle] = {}

    def check(self, built: Built, key: Path) -> Checked:
        """Everything about the release of a rendered overlay; ``key`` is the public key that its pods would trust."""
        pin, where = built.pin, built.component
        if pin is None:
            foreign = any(problem.rule == "release-owner" for problem in built.problems)
            return Checked("release component refused" if foreign else "nothing released yet")
        problems = []
        if refused := built.quarantine.problem(pin.release):
            problems.append(Problem("quarantine", refused, where, "deploy another release"))
        bundle = self.bundle(pin, key)
        if bundle is None:
            return Checked(f"release {pin.release[:12]} (not looked at)", tuple(problems))
        if bundle.manifest is None:
            level = "warning" if bundle.unreachable and not self._required else "error"
            problems.append(Problem(bundle.rule, bundle.problem or "", where, bundle.remedy, level))  # type: ignore[arg-type]
            word = "not reached" if bundle.unreachable else "REFUSED"
            return Checked(f"release {pin.release[:12]} ({word})", tuple(problems))
        wrong = objections(bundle.manifest, pin, Quarantine(), built.targets)
        remedy = "deploy a release that was built for this overlay and passed its gates"
        problems += [Problem("evidence", f"release {pin.release[:12]}: {said}", where, remedy) for said in wrong]
        return Checked(f"release {pin.release[:12]} ({'REFUSED' if wrong else 'verified'})", tuple(problems))

    def bundle(self, pin: ReleasePin, key: Path) -> Bundle | None:
        """The release of a pin, looked at once; None where nobody wants it looked at."""
        if self._required is False:
            return None
        asked = (pin.uri, pin.release, str(key))
        if asked not in self._known:
            self._progress(f"verifying release {pin.release[:12]}")
            self._known[asked] = self._look(pin, key)
        return self._known[asked]

    def _look(self, pin: ReleasePin, key: Path) -> Bundle:
        from rankops.release.signing import verify

        if self._stores and not pin.uri.startswith(self._stores):
            return Bundle(None, f"{pin.uri} is in none of the allowed stores", _UNTRUSTED, rule="store")
        if not key.is_file():
            remedy = "commit the public key of your release signer there"
            return Bundle(None, f"the tree has no trusted key ({key.parent.name}/{key.name})", remedy, rule="trust")
        try:
            folder = _fetch(pin, self._cache)
        except RemoteUnavailable as error:
            return Bundle(None, error.problem, error.remedy, rule="store", unreachable=True)
        except IntegrityError as error:
            return Bundle(None, error.problem, error.remedy, rule="store")
        try:
            return Bundle(verify(folder, key, pin.release))
        except RankopsError as error:
            said = error.problem.replace(str(folder), pin.uri).replace(str(key), "the trusted key of this tree")
            return Bundle(None, said, error.remedy)


def _fetch(pin: ReleasePin, cache: Path) -> Path:
    """The release's folder. Raises RemoteUnavailable where the store cannot be seen from this machine."""
    parts = urlparse(pin.uri)
    if parts.scheme == "file" and not Path(unquote(parts.path)).parent.is_dir():
        raise RemoteUnavailable(f"{pin.uri} is a folder of another machine", _ELSEWHERE)
    try:
        return fetch_folder(pin.uri, cache / pin.release)
    except RankopsError:
        raise
    except Exception as error:  # each fsspec backend has its own errors for "no credentials"
        raise RemoteUnavailable(
            f"cannot read {pin.uri}: {type(error).__name__}: {str(error)[:300]}", _ELSEWHERE
        ) from error
