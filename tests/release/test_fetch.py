from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from rankops.release.__main__ import main
from rankops.release.signing import verify
from rankops.store import ArtifactStore


@pytest.fixture
def stored(shop, tmp_path):
    store = ArtifactStore(str(tmp_path / "store"))
    return store.publish("release", shop.release, digest=shop.manifest.digest)


def fetch(shop, uri: str, to: Path, digest: str | None = None) -> int:
    return main(
        [
            "fetch",
            *("--uri", uri, "--digest", digest or shop.manifest.digest),
            *("--public-key", str(shop.public_key), "--to", str(to)),
        ]
    )


def test_fetch_puts_a_verified_release_in_place_and_a_second_time_does_nothing(shop, stored, tmp_path, capsys):
    to = tmp_path / "served" / "release"
    assert fetch(shop, stored.uri, to) == 0
    assert verify(to, shop.public_key, shop.manifest.digest) == shop.manifest
    assert not (to / ".complete").exists()
    before = to.stat().st_ino
    assert fetch(shop, stored.uri, to) == 0
    assert to.stat().st_ino == before
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("fetched:")
    assert said[1].startswith("already there:")
    assert [p.name for p in to.parent.iterdir()] == ["release"]


def test_fetch_from_a_remote_store_downloads(shop, tmp_path):
    store = ArtifactStore("memory://bucket", cache=tmp_path / "cache")
    stored = store.publish("release", shop.release, digest=shop.manifest.digest)
    assert fetch(shop, stored.uri, tmp_path / "to") == 0
    assert verify(tmp_path / "to", shop.public_key, None) == shop.manifest
    assert sorted(p.name for p in tmp_path.iterdir()) == ["to"]


def test_a_damaged_copy_is_replaced(shop, stored, tmp_path):
    to = tmp_path / "release"
    fetch(shop, stored.uri, to)
    (to / "golden.json").write_text("[]")
    assert fetch(shop, stored.uri, to) == 0
    verify(to, shop.public_key, shop.manifest.digest)


def test_a_damaged_store_never_reaches_the_target(shop, stored, tmp_path, capsys):
    to = tmp_path / "served" / "release"
    path = Path(stored.uri.removeprefix("file://")) / "index" / "vectors.npy"
    path.write_bytes(path.read_bytes()[:-1] + b"\x00")
    assert fetch(shop, stored.uri, to) == 3
    captured = capsys.readouterr()
    assert "index/vectors.npy" in captured.err
    assert len(captured.err.splitlines()) == 1
    assert list(to.parent.iterdir()) == []


def test_the_wrong_digest_is_refused_and_the_standing_release_stays(shop, stored, tmp_path, capsys):
    to = tmp_path / "release"
    fetch(shop, stored.uri, to)
    assert fetch(shop, stored.uri, to, digest="b" * 64) == 3
    assert "b" * 64 in capsys.readouterr().err
    verify(to, shop.public_key, shop.manifest.digest)


def test_an_absent_release_an_absent_key_and_an_unknown_store_have_their_own_exit_codes(shop, stored, tmp_path, capsys):
    assert fetch(shop, (tmp_path / "nowhere").as_uri(), tmp_path / "a") == 3
    assert fetch(shop, "nosuchscheme://x/y", tmp_path / "a") == 2
    arguments = ["fetch", "--uri", stored.uri, "--digest", shop.manifest.digest, "--to", str(tmp_path / "a")]
    assert main([*arguments, "--public-key", str(tmp_path / "no.pub")]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 3
    assert not (tmp_path / "a").exists()


def test_a_target_that_cannot_be_written_is_one_line_and_exit_code_1(shop, stored, tmp_path, capsys):
    (tmp_path / "file").write_text("no folder")
    assert fetch(shop, stored.uri, tmp_path / "file" / "release") == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "file" in line


def test_verify_show_and_keygen_on_the_command_line(shop, tmp_path, capsys):
    key = ["--public-key", str(shop.public_key)]
    assert main(["verify", "--release", str(shop.release), *key]) == 0
    assert shop.manifest.digest in capsys.readouterr().out
    assert main(["verify", "--release", str(shop.release), "--digest", "c" * 64, *key]) == 3
    assert main(["show", "--release", str(shop.release)]) == 0
    assert '"model": "retriever"' in capsys.readouterr().out
    assert main(["show", "--release", str(tmp_path)]) == 2
    assert main(["keygen", "--folder", str(tmp_path)]) == 0
    assert main(["keygen", "--folder", str(tmp_path)]) == 2


def test_the_module_runs_and_explains_itself():
    command = [sys.executable, "-m", "rankops.release"]
    helped = subprocess.run([*command, "fetch", "--help"], capture_output=True, text=True, check=True)
    for option in ("--uri", "--digest", "--public-key", "--to"):
        assert option in helped.stdout
    assert subprocess.run(command, capture_output=True, check=False).returncode == 2


def test_a_copy_without_its_marker_does_not_exist_for_readers(shop, tmp_path, capsys):
    shutil.copytree(shop.release, tmp_path / "plain")
    assert fetch(shop, (tmp_path / "plain").as_uri(), tmp_path / "to") == 3
    assert "absent or incomplete" in capsys.readouterr().err
