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
    dataset_dir: Annotated[Path, typer.Argument(help="a rankops dataset folder, or one like search_icecat")],
    model: Annotated[str, typer.Option(help="a model's name (its release in staging), or a release's folder or URL")],
    out: Annotated[Path, typer.Option(help="file for the TREC run; replaced as a whole")],
    k: Annotated[int, typer.Option(min=1, help="products a query")] = 100,
    split: Annotated[str, typer.Option(help="all, train, dev or test")] = "all",
    tag: Annotated[str | None, typer.Option(help="last column (default: model and digest)")] = None,
    public_key: Annotated[Path | None, typer.Option(help="key that verifies the release")] = None,
) -> None:
    """Write a TREC run: `query_id Q0 product_id rank score tag`. No labels are read.

    Judged pools that the folder names (candidates_test.tsv) are ranked completely, after the best K.
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
