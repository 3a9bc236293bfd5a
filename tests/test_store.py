"""The store: immutable, content-addressed, and never half-written for a reader."""

from pathlib import Path

import pytest

from rankops.artifacts import StoredArtifact, require_match
from rankops.errors import BadInput, IntegrityError, ProvenanceMismatch
from rankops.store import ArtifactStore, fetch_folder


@pytest.fixture(params=["file", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ArtifactStore:
    """The same behaviour on a local folder and on a remote filesystem (fsspec's memory:// stands in for s3://)."""
    root = str(tmp_path / "store") if request.param == "file" else f"memory://{tmp_path.name}"
    return ArtifactStore(root, cache=tmp_path / "cache")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    source = tmp_path / "source"
    (source / "sub").mkdir(parents=True)
    (source / "a.txt").write_text("a")
    (source / "sub" / "b.txt").write_text("b")
    return source


def test_what_is_published_is_read_back(store: ArtifactStore, folder: Path):
    made = store.publish("dataset", folder, lineage={"x": "1"}, facts={"rows": 2}, input_key="0" * 64)
    local = store.local_path(made)
    assert (local / "sub" / "b.txt").read_text() == "b"
    assert store.find("dataset", "0" * 64) == made
    assert store.find("dataset", "1" * 64) is None


def test_equal_content_has_one_address(store: ArtifactStore, folder: Path):
    assert store.publish("dataset", folder).digest == store.publish("dataset", folder).digest


def test_work_on_known_inputs_is_not_repeated(store: ArtifactStore):
    calls = []

    def make(out: Path) -> tuple[dict[str, str], dict[str, object]]:
        calls.append(out)
        (out / "f").write_text("x")
        return {}, {}

    first, reused_first = store.find_or_make("checkpoint", "a" * 64, make)
    second, reused_second = store.find_or_make("checkpoint", "a" * 64, make)
    assert (reused_first, reused_second, len(calls)) == (False, True, 1)
    assert first == second


def test_an_incomplete_folder_is_not_read_and_is_completed_by_the_next_writer(tmp_path: Path, folder: Path):
    store = ArtifactStore(str(tmp_path / "store"))
    made = store.publish("dataset", folder)
    local = store.local_path(made)
    (local / ".complete").unlink()
    (local / "a.txt").unlink()
    with pytest.raises(IntegrityError, match="incomplete"):
        store.local_path(made)
    store.publish("dataset", folder)
    assert (store.local_path(made) / "a.txt").read_text() == "a"


def test_an_absent_folder_is_named(tmp_path: Path):
    with pytest.raises(IntegrityError, match="no-such"):
        fetch_folder((tmp_path / "no-such").as_uri(), tmp_path / "cache")


@pytest.mark.parametrize("name", ["../evil.txt", "sub/../../evil.txt", "/tmp/evil.txt"])
def test_a_strangers_store_cannot_write_outside_the_copy(tmp_path: Path, name: str):
    import fsspec

    memory = fsspec.filesystem("memory")
    memory.pipe(f"/{tmp_path.name}/x/.complete", f"a.txt\n{name}".encode())
    with pytest.raises(IntegrityError, match="outside of it"):
        fetch_folder(f"memory://{tmp_path.name}/x", tmp_path / "cache" / "x")
    assert not (tmp_path / "cache" / "x").exists() and not (tmp_path / "evil.txt").exists()


def test_an_empty_folder_is_refused(store: ArtifactStore, tmp_path: Path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadInput, match="no file"):
        store.publish("dataset", tmp_path / "empty")


def test_small_records_are_replaced(store: ArtifactStore):
    assert store.read_json("decisions/x.json") is None
    store.write_json("decisions/x.json", {"a": 1})
    store.write_json("decisions/x.json", {"a": 2})
    assert store.read_json("decisions/x.json") == {"a": 2}


def test_a_mismatch_lists_every_field_and_the_remedy():
    with pytest.raises(ProvenanceMismatch) as caught:
        require_match(
            "the index", {"encoder": "aa", "dataset": "bb", "same": "c"}, {"encoder": "zz", "same": "c"}, "redo"
        )
    assert "encoder: expected aa, found zz" in str(caught.value)
    assert "dataset: expected bb, found nothing" in str(caught.value)
    assert "same" not in str(caught.value)
    assert "redo" in str(caught.value)


def test_references_reject_what_they_do_not_know():
    with pytest.raises(ValueError, match="extra"):
        StoredArtifact.model_validate({"kind": "dataset", "digest": "0" * 64, "uri": "x", "extra": 1})
