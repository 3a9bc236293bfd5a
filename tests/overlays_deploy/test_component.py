from __future__ import annotations

import copy

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from ruamel.yaml import YAML

from rankops.errors import InvalidOverlay, OverlayConflict
from rankops.overlays.component import SEED_MARKER, is_seed, read_component, render_component, require_pinned
from tests.overlays_deploy.conftest import fake_render, make_pin

# Digests that a careless writer turns into numbers: floats, integers, octal, infinity.
NUMBERLIKE = ["1" * 61 + "e12", "1234567e8" + "0" * 55, "1" * 64, "0" * 64, "0" * 63 + "7", "12e4" + "5" * 60]


@pytest.mark.parametrize("digest", NUMBERLIKE)
def test_a_digest_that_looks_like_a_number_comes_back_as_it_was(digest: str) -> None:
    pin = make_pin(release=digest, dataset=digest, checkpoint=digest, mlflow_run="1234567e8", dagster_run="0o17")
    text = render_component(pin)
    assert read_component(text) == pin
    operations = YAML(typ="safe", pure=True).load(YAML(typ="safe", pure=True).load(text)["patches"][0]["patch"])
    values = [op["value"] for op in operations if op["path"].endswith("rankops.dev~1release")]
    assert values == [digest]


@settings(max_examples=15, deadline=None)
@given(st.from_regex(r"\A[0-9a-f]{64}\Z"), st.from_regex(r"\A[!-~]{1,40}\Z"))
def test_every_pin_survives_the_round_trip_and_gives_the_same_bytes_twice(digest: str, run: str) -> None:
    pin = make_pin(release=digest, dagster_run=run, supersedes=digest)
    assert read_component(render_component(pin)) == pin
    assert render_component(pin) == render_component(pin.model_copy())


def test_both_containers_are_told_the_release_and_no_container_is_patched_by_a_wrong_index() -> None:
    patch = YAML(typ="safe", pure=True).load(render_component(make_pin()))["patches"][0]["patch"]
    operations = YAML(typ="safe", pure=True).load(patch)
    tests = {op["path"]: op["value"] for op in operations if op["op"] == "test"}
    assert tests == {
        "/spec/template/spec/containers/0/name": "server",
        "/spec/template/spec/initContainers/0/name": "fetch-release",
    }
    added = [op["value"]["name"] for op in operations if op["path"].endswith("/env/-")]
    assert added == ["RANKOPS_RELEASE_URI", "RANKOPS_RELEASE_DIGEST"] * 2


@pytest.mark.parametrize("edit", [("a" * 64, "b" * 64), ("name: ", "name:  "), ("run-1", "run-2")])
def test_any_edit_breaks_the_seal(edit: tuple[str, str]) -> None:
    text = render_component(make_pin()).replace(*edit)
    with pytest.raises(OverlayConflict, match=r"overlays/x\.yaml .*seal is broken"):
        read_component(text, name="overlays/x.yaml")


def test_a_file_without_a_seal_is_refused_but_an_absent_one_and_the_seed_are_not() -> None:
    assert is_seed(None)
    assert is_seed(f"{SEED_MARKER}. More words\nkind: Component\n")
    assert not is_seed("kind: Component\n")
    with pytest.raises(OverlayConflict, match="seal is missing"):
        read_component("kind: Component\n")


@pytest.mark.parametrize(
    "uri",
    [
        "no-scheme",
        "s3://key:secret@bucket/x",
        "file:///a b",
        "file:///${HOME}",
        "file:///$(POD)",
        'file:///"x',
        "file:///a\nb",
    ],
)
def test_an_address_that_could_carry_a_secret_or_be_expanded_is_refused(uri: str) -> None:
    with pytest.raises(ValidationError):
        make_pin(uri=uri)


def test_the_run_ids_make_no_difference_and_the_image_does() -> None:
    pin = make_pin()
    assert pin.same_effect(make_pin(dagster_run="another", mlflow_run=None, supersedes="f" * 64))
    assert not pin.same_effect(make_pin(image_digest="sha256:" + "0" * 64))
    assert not pin.same_effect(None)


def rendered(tmp_path, text: str):
    folder = tmp_path / "retriever"
    (folder / "release").mkdir(parents=True)
    (folder / "kustomization.yaml").write_text("x")
    (folder / "release" / "kustomization.yaml").write_text(text)
    return fake_render(folder).objects


def test_a_rendering_that_took_the_pin_passes_and_each_way_to_miss_it_is_named(tmp_path) -> None:
    pin = make_pin()
    objects = rendered(tmp_path, render_component(pin))
    require_pinned(objects, pin)
    wrong = copy.deepcopy(objects)
    spec = wrong[0]["spec"]["template"]
    spec["metadata"]["annotations"]["rankops.dev/release"] = "f" * 64
    spec["spec"]["containers"][0]["image"] = "rankops-servr"
    spec["spec"]["initContainers"][0]["env"] = spec["spec"]["initContainers"][0]["env"] * 2
    with pytest.raises(InvalidOverlay) as error:
        require_pinned(wrong, pin)
    for part in ("annotation rankops.dev/release", "server: image is 'rankops-servr'", "fetch-release: variable"):
        assert part in str(error.value)


def test_a_rendering_without_the_deployment_or_a_container_is_refused(tmp_path) -> None:
    pin = make_pin()
    with pytest.raises(InvalidOverlay, match="renders 0 Deployments named 'retriever'"):
        require_pinned([], pin)
    objects = rendered(tmp_path, render_component(pin))
    objects[0]["spec"]["template"]["spec"]["initContainers"] = []
    with pytest.raises(InvalidOverlay, match="container 'fetch-release' is missing"):
        require_pinned(objects, pin)
