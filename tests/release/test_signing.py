from __future__ import annotations

import json
import shutil
import stat
from pathlib import Path

import pytest

from rankops.errors import BadInput, IntegrityError
from rankops.release.manifest import payload_digests
from rankops.release.signing import create_key_pair, sign, verify
from tests.support.tiny_release import break_and_resign


@pytest.fixture
def copy(shop, tmp_path) -> Path:
    return Path(shutil.copytree(shop.release, tmp_path / "copy"))


def flip_one_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


def test_a_signed_release_verifies_wherever_it_lies(shop, copy):
    assert verify(copy, shop.public_key, shop.manifest.digest) == shop.manifest
    assert verify(copy, shop.public_key, None).digest == shop.manifest.digest


@pytest.mark.parametrize(
    "name",
    [
        "encoder/model.onnx",
        "encoder/tokenizer.json",
        "encoder/encoder.json",
        "index/vectors.npy",
        "index/product_ids.json",
        "index/index.json",
        "products.parquet",
        "golden.json",
        "release.json",
    ],
)
def test_a_file_changed_by_one_byte_is_refused_by_name(shop, copy, name):
    flip_one_byte(copy / name)
    with pytest.raises(IntegrityError, match=f"{name} was changed"):
        verify(copy, shop.public_key, shop.manifest.digest)


def test_any_changed_byte_of_the_signature_file_is_refused(shop, copy):
    signature = (copy / "release.sig").read_bytes()
    for position in range(0, len(signature), 211):
        changed = bytearray(signature)
        changed[position] ^= 2
        (copy / "release.sig").write_bytes(bytes(changed))
        with pytest.raises(IntegrityError, match=r"release\.sig"):
            verify(copy, shop.public_key, shop.manifest.digest)


@pytest.mark.parametrize("content", ["", "{}", "[]", "null", '{"verificationMaterial": {}}', "not json"])
def test_a_malformed_signature_is_refused_not_a_crash(shop, copy, content):
    (copy / "release.sig").write_text(content)
    with pytest.raises(IntegrityError, match=r"release\.sig"):
        verify(copy, shop.public_key, None)


@pytest.mark.parametrize("name", ["extra.bin", ".gitattributes", ".github/x", "encoder/more.onnx", ".complete/evil"])
def test_a_planted_file_is_refused_by_name(shop, copy, name):
    (copy / name).parent.mkdir(exist_ok=True)
    (copy / name).write_text("planted")
    with pytest.raises(IntegrityError, match=f"{name} was added"):
        verify(copy, shop.public_key, shop.manifest.digest)


def test_the_marker_of_the_store_may_lie_beside_the_files(shop, copy):
    (copy / ".complete").write_text("whatever")
    assert verify(copy, shop.public_key, shop.manifest.digest) == shop.manifest


def test_a_missing_file_is_refused_by_name(shop, copy):
    (copy / "index/vectors.npy").unlink()
    with pytest.raises(IntegrityError, match=r"index/vectors\.npy is missing"):
        verify(copy, shop.public_key, None)


def test_a_symbolic_link_is_refused(shop, copy, tmp_path):
    shutil.move(copy / "golden.json", tmp_path / "golden.json")
    (copy / "golden.json").symlink_to(tmp_path / "golden.json")
    with pytest.raises(IntegrityError, match=r"golden\.json"):
        verify(copy, shop.public_key, None)


@pytest.mark.parametrize("name", ["release.json", "release.sig"])
def test_an_unsigned_or_unnamed_folder_is_bad_input(shop, copy, name):
    (copy / name).unlink()
    with pytest.raises(BadInput, match=name):
        verify(copy, shop.public_key, None)


def test_another_signer_is_refused(shop, copy, tmp_path):
    _, other = create_key_pair(tmp_path / "other")
    with pytest.raises(IntegrityError, match="does not match"):
        verify(copy, other, shop.manifest.digest)


def test_a_file_that_is_no_key_is_bad_input(shop, copy, tmp_path):
    (tmp_path / "key.pub").write_text("hello")
    with pytest.raises(BadInput, match=r"key\.pub"):
        verify(copy, tmp_path / "key.pub", None)
    with pytest.raises(BadInput, match=r"key\.pub"):
        sign(copy, tmp_path / "key.pub")
    with pytest.raises(BadInput, match=r"nowhere"):
        sign(copy, tmp_path / "nowhere")


def test_a_good_release_that_is_not_the_pinned_one_is_refused_naming_both(shop, copy):
    with pytest.raises(IntegrityError) as caught:
        verify(copy, shop.public_key, "a" * 64)
    assert "a" * 64 in str(caught.value)
    assert shop.manifest.digest in str(caught.value)


def test_a_manifest_that_lies_about_its_files_is_refused_even_when_signed(shop, tmp_path):
    def lie(folder: Path) -> None:
        facts = json.loads((folder / "release.json").read_text())
        facts["files"] = payload_digests(folder) | {"golden.json": "0" * 64}
        (folder / "release.json").write_text(json.dumps(facts))

    shutil.copytree(shop.release, tmp_path / "lying")
    (tmp_path / "lying" / "release.sig").unlink()
    lie(tmp_path / "lying")
    sign(tmp_path / "lying", shop.private_key)
    with pytest.raises(IntegrityError, match=r"golden\.json was changed"):
        verify(tmp_path / "lying", shop.public_key, None)


def test_changing_and_signing_again_makes_another_release(shop, tmp_path):
    made = break_and_resign(
        shop.release, tmp_path / "b", lambda f: (f / "golden.json").write_text("[]"), private_key=shop.private_key
    )
    assert verify(tmp_path / "b", shop.public_key, None) == made
    with pytest.raises(IntegrityError, match="expected"):
        verify(tmp_path / "b", shop.public_key, shop.manifest.digest)


def test_keys_are_private_and_never_replaced(tmp_path):
    private, public = create_key_pair(tmp_path)
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    before = private.read_bytes(), public.read_bytes()
    with pytest.raises(BadInput, match="exists already"):
        create_key_pair(tmp_path)
    assert (private.read_bytes(), public.read_bytes()) == before


def test_signing_and_verifying_say_nothing(shop, copy, capfd, caplog):
    sign(copy, shop.private_key)
    verify(copy, shop.public_key, None)
    assert capfd.readouterr() == ("", "")
    assert caplog.text == ""
