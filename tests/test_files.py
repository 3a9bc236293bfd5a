"""Files are whole or absent, and digests depend on content and names only."""

import os
from pathlib import Path

import pytest

from rankops.files import canonical_json, combine_digests, digest_of, file_digests, staged_directory, write_text


def test_equal_values_have_equal_canonical_text():
    assert canonical_json({"b": 1, "a": [1, 2]}) == canonical_json({"a": [1, 2], "b": 1}) == '{"a":[1,2],"b":1}'
    assert digest_of({"a": 1}) != digest_of({"a": 2})


def test_a_failed_write_keeps_the_old_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    target = tmp_path / "record.json"
    write_text(target, "old")

    def full_disk(*_args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="No space"):
        write_text(target, "new")
    assert target.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["record.json"]


def test_a_staged_folder_appears_whole_or_not_at_all(tmp_path: Path):
    final = tmp_path / "bundle"
    with pytest.raises(RuntimeError), staged_directory(final) as staged:
        (staged / "half").write_text("x")
        raise RuntimeError("killed")
    assert list(tmp_path.iterdir()) == []
    with staged_directory(final) as staged:
        (staged / "whole").write_text("x")
    assert [p.name for p in tmp_path.iterdir()] == ["bundle"]


def test_a_standing_folder_wins_over_an_equal_one(tmp_path: Path):
    final = tmp_path / "bundle"
    for text in ("first", "second"):
        with staged_directory(final) as staged:
            (staged / "file").write_text(text)
    assert (final / "file").read_text() == "first"
    assert [p.name for p in tmp_path.iterdir()] == ["bundle"]


def test_the_combined_digest_sees_names_and_content(tmp_path: Path):
    (tmp_path / "a").write_text("1")
    (tmp_path / "b").write_text("2")
    first = combine_digests(file_digests(tmp_path))
    (tmp_path / "b").rename(tmp_path / "c")
    assert combine_digests(file_digests(tmp_path)) != first
    assert file_digests(tmp_path, exclude=frozenset({"c"})).keys() == {"a"}
