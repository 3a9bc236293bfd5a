"""What runs while an image is built: choosing, pruning, and writing the bill of materials."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from rankops.state import REPOSITORY


def tool(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"images_{name}", REPOSITORY / "images" / "tools" / f"{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


VARIANTS = ("onnxruntime", "onnxruntime-gpu")
install, prune, sbom = tool("install"), tool("prune"), tool("sbom")


def test_an_extra_brings_the_projects_dependencies_and_the_extras_it_names() -> None:
    pyproject = REPOSITORY / "pyproject.toml"
    serving = install.requirements(pyproject, "serving,tracing")
    assert {"pydantic>=2.7", "onnxruntime", "opentelemetry-sdk"} <= set(serving)
    assert not any(line.startswith(("torch", "dagster", "rankops")) for line in serving)
    cluster = install.requirements(pyproject, "cluster")
    assert {"dagster-postgres", "torch==2.13.0", "onnxruntime", "ruamel.yaml"} <= set(cluster)
    with pytest.raises(SystemExit, match="no extra 'server'"):
        install.requirements(pyproject, "server")


def test_the_cuda_variant_swaps_one_requirement_and_nothing_silently() -> None:
    wanted = ["numpy", "onnxruntime>=1.2"]
    assert install.replaced(wanted, ["onnxruntime=onnxruntime-gpu[cuda,cudnn]"]) == [
        "numpy",
        "onnxruntime-gpu[cuda,cudnn]",
    ]
    with pytest.raises(SystemExit, match="nothing to replace: onnx"):
        install.replaced(wanted, ["onnx=other"])


def test_both_variants_run_the_same_version_of_onnxruntime() -> None:
    pins = (REPOSITORY / "constraints.txt").read_text().splitlines()
    versions = {name: [pin.partition("==")[2] for pin in pins if pin.startswith(f"{name}==")] for name in VARIANTS}
    assert versions["onnxruntime"] == versions["onnxruntime-gpu"] != []


def test_every_distribution_left_out_of_the_server_says_why() -> None:
    without = install.names_in(REPOSITORY / "images" / "server" / "without.txt")
    assert len(without) > 3
    assert all(reason for reason in without.values())


def test_pruning_keeps_what_is_named_links_copies_and_refuses_stale_patterns(tmp_path: Path) -> None:
    packages = tmp_path / "lib" / "python3.11" / "site-packages"
    for name in ("a/tests/t.py", "a/tests/deep/u.py", "data/s3/m.json", "data/ec2/m.json", "data/endpoints.json"):
        (packages / name).parent.mkdir(parents=True, exist_ok=True)
        (packages / name).write_text("x" * 10)
    for name in ("libx.so", "libx.so.1"):
        (packages / "a" / name).write_bytes(b"library")
    patterns = tmp_path / "patterns"
    patterns.write_text("# why\na/**/tests  # of a\n?data/* !s3 !*.json\n?absent/*\n")
    saved = prune.prune(packages, prune.patterns_in(patterns))
    assert saved == {"a/**/tests": 20, "data/*": 10}
    assert sorted(path.name for path in (packages / "data").iterdir()) == ["endpoints.json", "s3"]
    assert prune.link_copies(packages) == 7
    assert (packages / "a" / "libx.so.1").resolve() == packages / "a" / "libx.so"
    patterns.write_text("a/tests\n")
    with pytest.raises(SystemExit, match="match nothing: a/tests"):
        prune.prune(packages, prune.patterns_in(patterns))


@pytest.fixture
def image_parts(tmp_path: Path) -> Path:
    """An environment with two distributions, and a base with two Debian packages of which one was removed."""
    packages = tmp_path / "env" / "lib" / "python3.11" / "site-packages"
    for name, version, licence in (("alpha", "1.0", "License-Expression: MIT"), ("be-ta", "2", "License: BSD")):
        info = packages / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.4\nName: {name}\nVersion: {version}\n{licence}\n\n")
    dpkg = tmp_path / "base" / "var" / "lib" / "dpkg"
    dpkg.mkdir(parents=True)
    here = "Package: libc6\nStatus: install ok installed\nArchitecture: amd64\nVersion: 2.36\nDescription: C\n more\n"
    gone = "Package: gone\nStatus: deinstall ok config-files\nArchitecture: amd64\nVersion: 1\n"
    (dpkg / "status").write_text(f"{here}\n{gone}")
    doc = tmp_path / "base" / "usr" / "share" / "doc" / "libc6"
    doc.mkdir(parents=True)
    (doc / "copyright").write_text("Format: https://dep\n\nFiles: *\nLicense: LGPL-2.1+ or Expat\n")
    (tmp_path / "base" / "etc").mkdir()
    (tmp_path / "base" / "etc" / "os-release").write_text('ID=debian\nVERSION_ID="12"\n')
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "main.py").write_text("pass\n")
    (tmp_path / "report.json").write_text(json.dumps([{"name": "alpha", "version": "1.0", "sha256": "a" * 64}]))
    return tmp_path


def write_bill(parts: Path, out: str = "bom.json") -> bytes:
    command = [sys.executable, str(REPOSITORY / "images" / "tools" / "sbom.py"), "--name", "server", "--version", "1.2"]
    command += ["--revision", "c" * 40, "--environment", str(parts / "env"), "--base", str(parts / "base")]
    command += ["--report", str(parts / "report.json"), "--app", str(parts / "app"), "--out", str(parts / out)]
    subprocess.run(command, check=True, env={**os.environ, "SOURCE_DATE_EPOCH": "1700000000"}, capture_output=True)
    return (parts / out).read_bytes()


def test_the_bill_of_materials_is_valid_complete_and_the_same_each_time(image_parts: Path) -> None:
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    text = write_bill(image_parts)
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text.decode()) is None
    assert write_bill(image_parts, "again.json") == text
    bom = json.loads(text)
    parts = {part["name"]: part for part in bom["components"]}
    assert {"alpha", "be-ta", "libc6", "rankops"} <= set(parts)
    assert "gone" not in parts
    assert parts["alpha"]["purl"] == "pkg:pypi/alpha@1.0"
    assert parts["alpha"]["hashes"] == [{"alg": "SHA-256", "content": "a" * 64}]
    assert parts["alpha"]["licenses"] == [{"license": {"id": "MIT"}}]
    assert parts["libc6"]["purl"] == "pkg:deb/debian/libc6@2.36?arch=amd64&distro=debian-12"
    assert {next(iter(each["license"].values())) for each in parts["libc6"]["licenses"]} == {"LGPL-2.1-or-later", "MIT"}
    # that base's Python is no Debian package, so it is listed by itself
    assert parts["python"]["purl"].startswith("pkg:generic/python@3.")
    assert bom["metadata"]["timestamp"].startswith("2023-11-14T22:13:20")


def test_another_content_is_another_bill(image_parts: Path) -> None:
    before = json.loads(write_bill(image_parts))["serialNumber"]
    (image_parts / "app" / "main.py").write_text("pass  # changed\n")
    assert json.loads(write_bill(image_parts))["serialNumber"] != before


def test_a_base_without_a_package_database_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="neither status nor"):
        sbom.debian_packages(tmp_path)
