"""A software bill of materials (CycloneDX 1.6, JSON) of what an image holds: Python, Debian, the interpreter, our code.

Runs in the build stage: ``--environment`` is the virtual environment that the image gets, ``--base`` a folder with the
base image's ``/var/lib/dpkg``, ``/usr/share/doc`` and ``/etc/os-release``. Versions come from what is installed, the
SHA-256 of wheels from ``--report`` (see ``install.py``), licences from the distributions' metadata and from Debian's
machine-readable copyright files. The same content gives the same bytes: the time is ``SOURCE_DATE_EPOCH`` and the
serial number is made from the content.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import re
import uuid
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from email.parser import HeaderParser
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cyclonedx.model.bom import Bom
    from cyclonedx.model.component import Component
    from cyclonedx.model.license import License

_NAMESPACE = uuid.UUID("6f1d3f0e-5d0b-5c39-9f0a-7b7f0a6f5a11")
# Debian's short names of licences (DEP-5) that SPDX knows under another name.
_SPDX = {
    "expat": "MIT", "gpl-1+": "GPL-1.0-or-later", "gpl-2": "GPL-2.0-only", "gpl-2+": "GPL-2.0-or-later",
    "gpl-3": "GPL-3.0-only", "gpl-3+": "GPL-3.0-or-later", "lgpl-2": "LGPL-2.0-only", "lgpl-2+": "LGPL-2.0-or-later",
    "lgpl-2.1": "LGPL-2.1-only", "lgpl-2.1+": "LGPL-2.1-or-later", "lgpl-3": "LGPL-3.0-only",
    "lgpl-3+": "LGPL-3.0-or-later", "bsd-2-clause": "BSD-2-Clause", "bsd-3-clause": "BSD-3-Clause",
    "isc": "ISC", "mit": "MIT", "zlib": "Zlib", "apache-2.0": "Apache-2.0", "mpl-2.0": "MPL-2.0",
}  # fmt: skip
# First lines of licence files, for distributions whose metadata names no licence.
_TITLES = {"mit license": "MIT", "apache license": "Apache-2.0", "bsd 3-clause license": "BSD-3-Clause"}
_LONGEST_NAME = 64


def python_components(environment: Path, hashes: dict[str, str]) -> Iterator[Component]:
    """One component a distribution of the environment; ``hashes`` are SHA-256 of wheels by normalized name."""
    from cyclonedx.model import HashAlgorithm, HashType
    from cyclonedx.model.component import Component
    from packageurl import PackageURL

    (packages,) = environment.glob("lib/python3*/site-packages")
    for found in distributions(path=[str(packages)]):
        name, sha256 = _normalized(found.name), hashes.get(_normalized(found.name))
        yield Component(
            name=found.name,
            version=found.version,
            bom_ref=f"pypi/{name}",
            purl=PackageURL("pypi", None, name, found.version),
            hashes=[HashType(alg=HashAlgorithm.SHA_256, content=sha256)] if sha256 else [],
            licenses=_python_licences(found),
        )


def debian_components(base: Path) -> Iterator[Component]:
    """One component a Debian package of the base image (``status``, or ``status.d`` of images without a shell)."""
    from cyclonedx.model.component import Component
    from packageurl import PackageURL

    release = _os_release(base)
    distro = f"{release.get('ID', 'debian')}-{release.get('VERSION_ID', '')}".rstrip("-")
    for package in debian_packages(base):
        name, version, architecture = package["Package"], package["Version"], package["Architecture"]
        qualifiers = {"arch": architecture, "distro": distro}
        yield Component(
            name=name,
            version=version,
            bom_ref=f"deb/{name}/{architecture}",
            purl=PackageURL("deb", release.get("ID", "debian"), name, version, qualifiers),
            licenses=_licences(_debian_licences(base / "usr/share/doc" / name / "copyright")),
        )


def debian_packages(base: Path) -> list[dict[str, str]]:
    """The installed packages of the base image, by name. Raises ``SystemExit`` where there is no package database."""
    folder = base / "var/lib/dpkg"
    files = [folder / "status", *sorted((folder / "status.d").glob("*"))]
    texts = [file.read_text(errors="replace") for file in files if file.is_file() and file.suffix != ".md5sums"]
    if not texts:
        raise SystemExit(f"{folder} has neither status nor status.d: the base image is not Debian's or Ubuntu's")
    stanzas = [HeaderParser().parsestr(part) for text in texts for part in re.split(r"\n\s*\n", text) if part.strip()]
    installed = [
        {key: str(stanza[key]) for key in ("Package", "Version", "Architecture") if stanza[key]}
        for stanza in stanzas
        if str(stanza.get("Status", "install ok installed")).endswith(" installed")
    ]
    whole = [package for package in installed if len(package) == 3]
    return sorted(whole, key=lambda package: (package["Package"], package["Architecture"]))


def interpreter(base: Path) -> Component | None:
    """The Python that the base image brings, where no Debian package is it."""
    from cyclonedx.model.component import Component, ComponentType
    from packageurl import PackageURL

    minor = ".".join(platform.python_version_tuple()[:2])
    if any(package["Package"] == f"python{minor}-minimal" for package in debian_packages(base)):
        return None
    version = platform.python_version()
    return Component(
        name="python",
        type=ComponentType.APPLICATION,
        version=version,
        bom_ref="generic/python",
        purl=PackageURL("generic", None, "python", version),
        licenses=_licences(["PSF-2.0"]),
    )


def build(
    *, name: str, version: str, revision: str, environment: Path, base: Path, hashes: dict[str, str], app: Path | None
) -> Bom:
    """The bill of one image. ``app`` is the folder of this repository's own code in it."""
    from cyclonedx.model import HashAlgorithm, HashType, Property
    from cyclonedx.model.bom import Bom
    from cyclonedx.model.component import Component, ComponentType

    parts = [*python_components(environment, hashes), *debian_components(base)]
    if python := interpreter(base):
        parts.append(python)
    if app:
        code = _tree_digest(app)
        parts.append(
            Component(
                name="rankops",
                type=ComponentType.APPLICATION,
                version=version,
                bom_ref="rankops",
                hashes=[HashType(alg=HashAlgorithm.SHA_256, content=code)],
                licenses=_licences(["Apache-2.0"]),
                properties=[Property(name="rankops:revision", value=revision)] if revision else [],
            )
        )
    image = Component(name=name, type=ComponentType.CONTAINER, version=version, bom_ref="image")
    bom = Bom(components=parts)
    bom.metadata.component = image
    bom.metadata.timestamp = datetime.fromtimestamp(int(os.environ.get("SOURCE_DATE_EPOCH", "0")), UTC)
    bom.register_dependency(image, parts)
    told = json.dumps([[str(part.bom_ref), part.version, sorted(h.content for h in part.hashes)] for part in parts])
    bom.serial_number = uuid.uuid5(_NAMESPACE, f"{name} {version} {revision} {told}")
    return bom


def _python_licences(found: Distribution) -> list[License]:
    meta = found.metadata
    if expression := meta.get("License-Expression"):
        return _licences([expression])
    classifiers = [value for value in meta.get_all("Classifier", []) if value.startswith("License :: ")]
    named = [value.rpartition(" :: ")[2] for value in classifiers if value.count(" :: ") > 1]
    text = (meta.get("License") or "").strip()
    if text and len(text) <= _LONGEST_NAME and "\n" not in text and text.upper() != "UNKNOWN":
        return _licences([text])
    return _licences(named or _titled(found))


def _titled(found: Distribution) -> list[str]:
    files = [file for file in found.files or [] if file.name.upper().startswith(("LICENSE", "LICENCE", "COPYING"))]
    texts = [Path(str(file.locate())) for file in files]
    titles = {next(iter(text.read_text(errors="replace").split("\n", 1))).strip() for text in texts if text.is_file()}
    return sorted({_TITLES[title.lower()] for title in titles if title.lower() in _TITLES})


def _debian_licences(copyright_file: Path) -> list[str]:
    """Short names in a machine-readable copyright file (DEP-5); none where it is free text."""
    if not copyright_file.is_file():
        return []
    lines = copyright_file.read_text(errors="replace").splitlines()
    if not any(line.startswith("Format:") for line in lines[:5]):
        return []
    values = {line.partition(":")[2].strip() for line in lines if line.startswith("License:")}
    alternatives = {part.strip() for value in values for part in re.split(r",? (?:and|or) |\|", value)}
    return sorted(part for part in alternatives if part and len(part) <= _LONGEST_NAME)


def _licences(names: Iterable[str]) -> list[License]:
    """One SPDX expression or id where the only name is one; else each name by itself."""
    from cyclonedx.factory.license import LicenseFactory
    from cyclonedx.model.license import LicenseExpression

    factory = LicenseFactory()
    made = [factory.make_from_string(_SPDX.get(name.lower(), name)) for name in dict.fromkeys(names)]
    if len(made) > 1:  # CycloneDX allows one expression, or any number of licences
        made = [factory.make_with_name(one.value) if isinstance(one, LicenseExpression) else one for one in made]
    return made


def _os_release(base: Path) -> dict[str, str]:
    file = base / "etc/os-release"
    pairs = (line.partition("=") for line in file.read_text().splitlines() if "=" in line) if file.is_file() else ()
    return {key: value.strip().strip('"') for key, _, value in pairs}


def _tree_digest(folder: Path) -> str:
    lines = [
        f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.relative_to(folder).as_posix()}\n"
        for file in sorted(folder.rglob("*"))
        if file.is_file() and file.suffix != ".pyc"
    ]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def main() -> None:
    """Write the bill."""
    from cyclonedx.output.json import JsonV1Dot6

    top = argparse.ArgumentParser(description="Write the SBOM of an image.")
    top.add_argument("--name", required=True, help="name of the image")
    top.add_argument("--version", default="0", help="version of rankops in it")
    top.add_argument("--revision", default="", help="commit that it was built from")
    top.add_argument("--environment", type=Path, required=True, help="virtual environment of the image")
    top.add_argument("--base", type=Path, required=True, help="folder with parts of the base image")
    top.add_argument("--report", type=Path, required=True, help="what install.py reported")
    top.add_argument("--app", type=Path, help="folder of this repository's code in the image")
    top.add_argument("--out", type=Path, required=True, help="file to write")
    args = top.parse_args()
    hashes = {_normalized(pin["name"]): pin["sha256"] for pin in json.loads(args.report.read_text())}
    bom = build(
        name=args.name,
        version=args.version,
        revision=args.revision,
        environment=args.environment,
        base=args.base,
        hashes=hashes,
        app=args.app,
    )
    text = JsonV1Dot6(bom).output_as_string(indent=1)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(text + "\n")
    print(f"{args.out}: {len(bom.components)} components")


if __name__ == "__main__":
    main()
