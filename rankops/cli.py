"""``rankops``: what people and CI run by hand. Each command is thin; the library does the work.

Results go to standard output, progress and errors to standard error. A failure that has a remedy is printed with it
and ends with exit code 1; wrong usage ends with 2.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ParamSpec, TypeVar

import typer
from rich.console import Console
from rich.table import Table

from rankops.errors import BadInput, RankopsError
from rankops.state import LocalState

if TYPE_CHECKING:
    from rankops.forge.local import LocalForge

app = typer.Typer(
    help="GitOps for search and recommendation models.", no_args_is_help=True, add_completion=False,
    pretty_exceptions_enable=False,
)  # fmt: skip
pull_requests = typer.Typer(help="Pull requests of the local forge.", no_args_is_help=True)
app.add_typer(pull_requests, name="pr")

P = ParamSpec("P")
R = TypeVar("R")
_TABLES = ("catalogue", "interactions", "queries", "judgements")


def _errors() -> Console:
    return Console(stderr=True, highlight=False)


def _reported(command: Callable[P, R]) -> Callable[P, R]:
    """Turn errors that a person can act on into a message and exit code 1; bugs keep their traceback."""

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except RankopsError as error:
            _errors().print(f"[red]error:[/red] {_plain(error.problem)}", soft_wrap=True)
            if error.remedy:
                _errors().print(f"[green]remedy:[/green] {_plain(error.remedy)}", soft_wrap=True)
            raise typer.Exit(1) from error

    return run


def _plain(text: str) -> str:
    from rich.markup import escape

    return escape(text)


@contextmanager
def _progress() -> Iterator[Callable[[str], None]]:
    """A spinner with the latest message on a terminal, a line per message elsewhere; always on standard error."""
    console = _errors()
    if not console.is_terminal:
        yield lambda message: console.print(_plain(message), soft_wrap=True)
        return
    with console.status("starting") as status:
        yield lambda message: status.update(_plain(message))


def _say(text: str) -> None:
    typer.echo(text)


@app.command()
def version() -> None:
    """Print the installed version."""
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as installed

    try:
        _say(installed("rankops"))
    except PackageNotFoundError:
        _say("unknown (rankops runs from a clone that is not installed)")


@app.command()
@_reported
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
    from rankops.predict import predict as write_run
    from rankops.predict import read_questions, resolve_release

    if split not in ("all", "train", "dev", "test"):
        raise BadInput(f"{split!r} is no split", "give all, train, dev or test")
    state = LocalState.current()
    with _progress() as progress:
        progress("verifying the release")
        release = resolve_release(model, public_key or state.public_key, state)
        questions = read_questions(dataset_dir, split)  # type: ignore[arg-type]
        name = tag or f"{release.model}-{release.digest[:12]}"
        lines = write_run(release, questions, out, k=k, tag=name, progress=progress)
    _say(f"{out}: {lines:,} lines for {len(questions.queries):,} queries, release {release.digest}")


@app.command("verify-release")
@_reported
def verify_release(
    uri: Annotated[str, typer.Argument(help="a release's folder or URL, or a model's name")],
    public_key: Annotated[Path | None, typer.Option(help="key that verifies the release")] = None,
) -> None:
    """Check signature, every file and the digest of a release."""
    from rankops.predict import resolve_release

    state = LocalState.current()
    release = resolve_release(uri, public_key or state.public_key, state)
    _say(f"verified: {release.model} release {release.digest}")


@app.command()
@_reported
def keygen(
    folder: Annotated[Path | None, typer.Option(help="where the pair is written (default: the state folder)")] = None,
) -> None:
    """Make an EC P-256 key pair that signs releases; never replaces one."""
    from rankops.release.signing import create_key_pair

    private, public = create_key_pair(folder or LocalState.current().signing_key.parent)
    _say(f"private key (keep it secret): {private}\npublic key: {public}")


@app.command()
@_reported
def shop(
    world: Annotated[Path, typer.Argument(help="a world file (YAML or JSON)")],
    out: Annotated[Path, typer.Option(help="new folder for the tables")],
    days: Annotated[str | None, typer.Option(help="offsets FIRST:LAST, both included (default: all)")] = None,
) -> None:
    """Write a generated shop: catalogue.parquet (of the last day) and interactions/DAY.parquet."""
    from rankops.data.shop.shop import Shop
    from rankops.data.shop.world import load_world
    from rankops.files import staged_directory

    if out.exists():
        raise BadInput(f"{out} exists already", "give a folder that does not exist, or remove it first")
    declared = load_world(world)
    wanted = _offsets(days, declared.days)
    with _progress() as progress, staged_directory(out) as staged:
        progress("making products, users and queries")
        made, events = Shop(declared), 0
        (staged / "interactions").mkdir()
        for offset in wanted:
            day = declared.day(offset)
            table = made.events(day)
            table.write_parquet(staged / "interactions" / f"{day}.parquet", compression="zstd")
            events += table.height
            progress(f"{day}: {events:,} events so far")
        catalogue = made.catalogue(declared.day(wanted[-1]))
        catalogue.write_parquet(staged / "catalogue.parquet", compression="zstd")
    _say(f"{out}: {catalogue.height:,} products, {events:,} events on {len(wanted)} days")


def _offsets(days: str | None, count: int) -> range:
    if days is None:
        return range(count)
    first, separator, last = days.partition(":")
    if not first.isdigit() or (separator and not last.isdigit()):
        raise BadInput(f"--days {days!r} is no range of offsets", "give FIRST:LAST, e.g. 0:13")
    wanted = range(int(first), int(last if separator else first) + 1)
    if not wanted or wanted[-1] >= count:
        raise BadInput(f"--days {days} is outside the world's days 0:{count - 1}", "raise 'days' in the world file")
    return wanted


@app.command()
@_reported
def validate(
    table: Annotated[str, typer.Argument(help=" | ".join(_TABLES))],
    file: Annotated[str, typer.Argument(help="Parquet, CSV, TSV or JSON lines, at any fsspec path")],
    catalogue: Annotated[str | None, typer.Option(help="catalogue that every product must be in")] = None,
    column: Annotated[list[str] | None, typer.Option(help="THEIRS=OURS; repeat for more")] = None,
) -> None:
    """Check a table against its schema; every error names row, column and rule."""
    if table not in _TABLES:
        raise BadInput(f"{table!r} is no table", f"give one of {', '.join(_TABLES)}")
    from rankops.data.importers import import_table

    mapping = dict(_pair(text) for text in column or [])
    products = import_table("catalogue", catalogue) if catalogue else None
    found = import_table(table, file, mapping, catalogue=products)  # type: ignore[arg-type]
    _say(f"{file}: {found.height:,} rows, a valid {table} table")


def _pair(text: str) -> tuple[str, str]:
    theirs, separator, ours = text.partition("=")
    if not separator or not theirs or not ours:
        raise BadInput(f"--column {text!r} maps nothing", "give THEIRS=OURS, e.g. --column sku=product_id")
    return theirs, ours


@app.command("check-overlays")
@_reported
def check_overlays(
    path: Annotated[Path, typer.Argument(help="the overlays' root, or one overlay")] = Path("k8s-overlays"),
    kubernetes: Annotated[str | None, typer.Option(help="cluster version to check the schemas of")] = None,
) -> None:
    """Build every overlay with the real kustomize and check schemas and our rules."""
    from rankops.overlays.kustomize import find_kustomize
    from rankops.overlays.validate import KUBERNETES, build_and_validate

    program, broken = find_kustomize(), 0
    for folder in _overlays(path):
        try:
            rendered = build_and_validate(folder, kustomize=program, kubernetes=kubernetes or KUBERNETES)
        except RankopsError as error:
            broken += 1
            _say(f"FAILED {folder}: {error.problem}" + (f"\n  remedy: {error.remedy}" if error.remedy else ""))
        else:
            _say(f"ok     {folder}: {len(rendered.objects)} objects")
    if broken:
        raise typer.Exit(1)


def _overlays(path: Path) -> list[Path]:
    """``path`` itself when it is an overlay, else ``overlays/<environment>/<model>`` below it."""
    if (path / "kustomization.yaml").is_file():
        return [path]
    found = sorted(file.parent for file in path.glob("overlays/*/*/kustomization.yaml"))
    if not found:
        raise BadInput(f"{path} holds no overlay", "give a folder with overlays/<environment>/<model>, or one overlay")
    return found


@pull_requests.command("list")
@_reported
def pr_list(state: Annotated[str, typer.Option(help="open, closed, merged or all")] = "all") -> None:
    """List pull requests."""
    if state not in ("open", "closed", "merged", "all"):
        raise BadInput(f"{state!r} is no state", "give open, closed, merged or all")
    found = [item for item in _forge().all() if state in ("all", item.state)]
    if not found:
        _say("no pull request")
        return
    table = Table("#", "state", "into", "title", box=None)
    for item in found:
        table.add_row(str(item.number), item.state, item.base, _plain(item.title))
    Console().print(table)


@pull_requests.command("show")
@_reported
def pr_show(number: Annotated[int, typer.Argument(help="number of the pull request")]) -> None:
    """Print a pull request: title, state, branches, body, comments."""
    forge = _forge()
    item = forge.get(number)
    _say(f"#{item.number} {item.title}\n{item.state}: {item.head} -> {item.base}")
    _say(f"merge commit: {item.merge_commit}\n" if item.merge_commit else "")
    _say(item.body)
    for comment in forge.comments(number):
        _say(f"- {comment}")


@pull_requests.command("merge")
@_reported
def pr_merge(number: Annotated[int, typer.Argument(help="number of the pull request")]) -> None:
    """Merge a pull request; merging a merged one changes nothing."""
    merged = _forge().merge(number)
    _say(f"#{merged.number} is merged as {merged.merge_commit}")


def _forge() -> LocalForge:
    from rankops.forge.local import LocalForge
    from rankops.overlays.mirror import GitRemote

    state = LocalState.current()
    return LocalForge(state.root / "forge", GitRemote(state.git_url, state.root / "mirrors"))
