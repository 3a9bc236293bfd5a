"""Commands about models and their releases."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rankops.cli.common import progress, reported, say
from rankops.errors import BadInput
from rankops.state import LocalState


@reported
def predict(
    dataset_dir: Annotated[
        Path, typer.Argument(help="a rankops dataset folder, or one like search_icecat, matching_wdc or retail")
    ],
    model: Annotated[
        str,
        typer.Option(help="a model's name (its release of `fit`, or in staging), or a release's folder or URL"),
    ],
    out: Annotated[Path, typer.Option(help="file for the predictions; replaced as a whole")],
    k: Annotated[int, typer.Option(min=1, help="products a query")] = 100,
    split: Annotated[str, typer.Option(help="all, train, dev or test")] = "all",
    tag: Annotated[str | None, typer.Option(help="last column (default: model and digest)")] = None,
    public_key: Annotated[Path | None, typer.Option(help="key that verifies the release")] = None,
) -> None:
    """Write predictions; no labels are read.

    Retrieval, ranking: a TREC run, `query_id Q0 product_id rank score tag`; judged pools that the folder names
    (candidates_test.tsv) are ranked completely, after the best K. Pairs: `pair_id, score, label`. Next item:
    `case_id, rank, item, score`. Both are separated by tabs.
    """
    from rankops.predict import Asked, predict_task, resolve_release

    if split not in ("all", "train", "dev", "test"):
        raise BadInput(f"{split!r} is no split", "give all, train, dev or test")
    state = LocalState.current()
    with progress() as tell:
        tell("verifying the release")
        release = resolve_release(model, public_key or state.public_key, state)
        asked = Asked(split=split, k=k, tag=tag)  # type: ignore[arg-type]
        written = predict_task(release.task).predict(release, dataset_dir, out, asked, tell)
    say(f"{out}: {written}, release {release.digest}")


@reported
def fit(
    dataset_dir: Annotated[
        Path, typer.Argument(help="a rankops dataset folder, or one like search_icecat, matching_wdc or retail")
    ],
    model: Annotated[str, typer.Option(help="name of a ModelSpec in the specs' module")],
    specs: Annotated[str, typer.Option(help="module that holds ModelSpecs")] = "assets.models",
    judged: Annotated[
        bool, typer.Option("--judged", help="release the judged model itself: the held-out part is never learned from")
    ] = False,
) -> None:
    """Train, judge, compress and release a model on a folder of data, for `predict --model NAME`.

    The stages are those of the assets. Where the test labels lie with somebody else, a part of the labelled data is
    held out to judge on; once every gate has passed, the same spec learns from all labels. What stands is used again.
    """
    from rankops.cli.specs import find_spec
    from rankops.stages.fit import fit as fit_model

    spec = find_spec(specs, model)
    with progress() as tell:
        made = fit_model(dataset_dir, spec, final=not judged, progress=tell)
    told = "stood already" if made.reused else "made"
    say(f"{spec.name}: release {made.release.digest} {told} in {made.seconds:.0f} s\n{made.card}")


@reported
def verify_release(
    uri: Annotated[str, typer.Argument(help="a release's folder or URL, or a model's name")],
    public_key: Annotated[Path | None, typer.Option(help="key that verifies the release")] = None,
) -> None:
    """Check signature, every file and the digest of a release."""
    from rankops.predict import resolve_release

    state = LocalState.current()
    release = resolve_release(uri, public_key or state.public_key, state)
    say(f"verified: {release.model} release {release.digest}")


@reported
def keygen(
    folder: Annotated[Path | None, typer.Option(help="where the pair is written (default: the state folder)")] = None,
) -> None:
    """Make an EC P-256 key pair that signs releases; never replaces one."""
    from rankops.release.signing import create_key_pair

    private, public = create_key_pair(folder or LocalState.current().signing_key.parent)
    say(f"private key (keep it secret): {private}\npublic key: {public}")
