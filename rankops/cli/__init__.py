"""``rankops``: what people and CI run by hand. Each command is thin; the library does the work.

Results go to standard output, progress and errors to standard error. A failure that has a remedy is printed with it
and ends with exit code 1; wrong usage ends with 2. One module a subject; this one only names the commands.
"""

from __future__ import annotations

import typer

from rankops.cli import advise, api_keys, compression, data, load, models, overlays, platform, rollback, trace
from rankops.cli.common import say
from rankops.cli.pull_requests import pull_requests

app = typer.Typer(
    help="GitOps for search and recommendation models.", no_args_is_help=True, add_completion=False,
    pretty_exceptions_enable=False,
)  # fmt: skip


@app.command()
def version() -> None:
    """Print the installed version."""
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as installed

    try:
        say(installed("rankops"))
    except PackageNotFoundError:
        say("unknown (rankops runs from a clone that is not installed)")


app.command()(models.fit)
app.command()(models.predict)
app.command("verify-release")(models.verify_release)
app.command()(models.keygen)
app.command()(data.shop)
app.command()(data.validate)
app.command("import")(data.import_)
app.command("select-features")(data.select_features)
app.command("label-next")(data.label_next)
app.command("pseudo-label")(data.pseudo_label)
app.command("load-test")(load.load_test)
app.command()(compression.measure)
app.command()(advise.advise)
app.command("check-overlays")(overlays.check_overlays)
app.command("check-platform")(platform.check_platform)
app.command()(trace.trace)
app.command()(rollback.rollback)
app.add_typer(rollback.quarantine, name="quarantine")
app.command("alert-webhook")(rollback.alert_webhook)
app.add_typer(pull_requests, name="pr")
app.add_typer(api_keys.api_key, name="api-key")
