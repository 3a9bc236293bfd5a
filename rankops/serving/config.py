"""What the server needs to know: arguments, each with an environment variable (``RANKOPS_<NAME>``)."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from rankops.errors import BadInput

if TYPE_CHECKING:
    from rankops.onnx_session import SessionSettings
    from rankops.release.manifest import ReleaseManifest


class ServerConfig(BaseModel):
    """Settings of one server process; one process serves one release at a time."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    release: Path = Field(description="folder of the release (as 'python -m rankops.release fetch' leaves it)")
    public_key: Path = Field(description="PEM file of the release signer; nothing unsigned is ever served")
    digest: str | None = Field(
        default=None, pattern=r"^[0-9a-f]{64}$", description="hex digest that the release must have"
    )
    host: str = Field(default="127.0.0.1", description="address to listen on")
    port: int = Field(default=8080, ge=0, le=65535, description="port to listen on")
    threads: int = Field(default=2, ge=1, le=64, description="requests that are encoded and searched at a time")
    queue: int = Field(default=256, ge=1, description="requests that may wait for a thread; more are answered 503")
    request_log: Path | None = Field(default=None, description="folder of the request log (none: not logged)")
    request_log_mb: float = Field(default=512, gt=0, description="disk that the request log may use, in MB")
    request_log_seconds: float = Field(default=30, gt=0, description="longest time a record waits to be written")
    request_log_days: int | None = Field(
        default=None, ge=1, description="days that the request log keeps at most (default: what the disk budget holds)"
    )
    request_log_names: Literal["keep", "drop"] = Field(
        default="keep",
        description="drop: a query that may name somebody (two words that the catalogue lacks, or a frequent name) is "
        "logged as <dropped>; keep: only names that the query announces are removed",
    )
    default_k: int = Field(default=10, ge=1, description="results of a search that does not say how many")
    max_k: int = Field(default=100, ge=1, description="most results of one search")
    max_query_chars: int = Field(default=512, ge=1, description="longest query, in characters")
    max_text_chars: int = Field(default=4096, ge=1, description="longest text of a product, in characters")
    max_body_bytes: int = Field(default=1 << 20, ge=64, description="largest request body, in bytes")
    body_seconds: float = Field(default=30, gt=0, description="longest time that a request body may take to arrive")
    max_batch: int = Field(default=64, ge=1, description="most texts of one /v2 inference")
    max_items: int = Field(default=200, ge=1, description="most products of one /recommend or /rerank request")
    min_score: float | None = Field(
        default=None,
        description="leave out results that score less: the fused score of a hybrid (0 to 1), else the cosine "
        "(verification expects none left out)",
    )
    drain_seconds: int = Field(default=20, ge=1, description="time that running requests get after SIGTERM")
    linger_seconds: float = Field(
        default=5,
        ge=0,
        description="longest time after SIGTERM in which open connections may still send a request; each answer closes "
        "its connection, so that it ends sooner when clients are busy or gone",
    )
    trust_request_time: bool = Field(
        default=False, description="let the header X-Request-Time set the log's time (replay of recorded traffic)"
    )
    pin: Path | None = Field(
        default=None,
        description='JSON file {"digest": ..., "release": FOLDER} or {"digest": ..., "uri": URL} that says what is '
        "served instead of --release and --digest; when it changes, the new release takes over without a dropped "
        "request",
    )
    pin_seconds: float = Field(
        default=5, gt=0, le=3600, description="how often the pin is read, in seconds (at once after SIGHUP)"
    )
    releases: Path | None = Field(default=None, description="folder that a pin's URI is fetched into")
    max_search_batch: int = Field(
        default=8, ge=1, le=1024, description="most searches that a thread answers together, when so many wait"
    )
    batch_wait_ms: float = Field(
        default=0,
        ge=0,
        le=1000,
        description="how long a thread waits for a batch to fill, in ms (0: it takes what waits; raise it on a GPU)",
    )
    request_timeout_ms: float | None = Field(
        default=None,
        gt=0,
        description="answer 504 after this time, in ms; the header X-Request-Timeout-Ms may ask for less",
    )
    cache_entries: int = Field(default=20000, ge=0, description="search answers that are kept (0: none)")
    cache_mb: float = Field(default=64, ge=0, description="memory that kept answers may use, in MB (0: none are kept)")
    cache_seconds: float | None = Field(
        default=None, gt=0, description="how long an answer is kept, in seconds (default: until another release)"
    )
    log_format: Literal["text", "json"] = Field(default="text", description="form of log lines: text or json")
    slow_ms: float = Field(
        default=1000, ge=0, description="log requests that take longer, in ms, with stages (0: none)"
    )
    log_sample: float = Field(default=0, ge=0, le=1, description="share of requests that are logged whatever they took")
    tracing: bool = Field(
        default=False, description="OpenTelemetry spans, sent as the OTEL_* variables say (needs the extra 'tracing')"
    )
    trace_sample: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="share of traces to record (default: as OTEL_TRACES_SAMPLER says, else all)",
    )
    trace_queries: bool = Field(
        default=False, description="let spans carry queries, without the personal data that is recognized"
    )
    api_keys: Path | None = Field(
        default=None,
        description="file of API keys, read again when it changes; see rankops api-key (none: all may ask)",
    )
    metrics_need_key: bool = Field(default=False, description="ask for an API key at /metrics too")
    cors_origins: str = Field(
        default="",
        pattern=r"^(\*|https?://[^\s,/]+(,https?://[^\s,/]+)*)?$",
        description="origins (comma-separated, or *) whose pages may ask from a browser (none)",
    )
    max_header_bytes: int = Field(default=32768, ge=256, description="largest request line with headers, in bytes")
    header_seconds: float = Field(
        default=10, gt=0, description="longest time that a new connection or a request's headers may take"
    )
    keep_alive_seconds: int = Field(
        default=75, ge=1, description="how long an idle connection is kept (longer than your gateway keeps its own)"
    )
    max_connections: int = Field(default=4096, ge=1, description="most open connections; more are answered 503")

    provider: Literal["cpu", "cuda"] = Field(
        default="cpu", description="what runs the model: cpu, or cuda (needs onnxruntime-gpu and a GPU)"
    )
    session_threads: int | None = Field(
        default=None,
        ge=1,
        le=64,
        description="cores of one run of the model; more only where cores are idle (default: what was measured to be "
        "best for the release, else 1)",
    )
    session_arena: Literal["on", "off"] | None = Field(
        default=None,
        description="keep the model's working memory between runs (default: what was measured to be best for the "
        "release, else on)",
    )
    device: int = Field(default=0, ge=0, description="number of the GPU")

    @property
    def providers(self) -> tuple[str, ...]:
        """ONNX Runtime's names for ``provider``."""
        from rankops.onnx_session import CPU, CUDA

        return CUDA if self.provider == "cuda" else CPU

    def session(self, release: ReleaseManifest) -> SessionSettings:
        """How the session of a release's model computes: as set here, else as measured for the release."""
        from rankops.onnx_session import SessionSettings
        from rankops.release.capacity import MeasuredSession

        measured = (release.capacity and release.capacity.session) or MeasuredSession()
        arena = measured.arena if self.session_arena is None else self.session_arena == "on"
        return SessionSettings(self.session_threads or measured.threads, arena, self.device)

    @model_validator(mode="before")
    @classmethod
    def _pin_names_the_release(cls, given: Any) -> Any:
        # a pin says where its release is; until it was read, its own folder stands there
        return {"release": Path(given["pin"]).parent, **given} if given.get("pin") else given


def parser() -> argparse.ArgumentParser:
    """The command line, made from :class:`ServerConfig`."""
    top = argparse.ArgumentParser(
        prog="python -m rankops.serving",
        description="Serve a verified release: /search, Open Inference Protocol v2 (/v2), /healthz, /readyz, /metrics. "
        "One process with a small thread pool; add replicas for more.",
        epilog="Each option can be given as an environment variable, e.g. RANKOPS_PUBLIC_KEY; the option wins. "
        "Exit codes: 0 drained, 1 other failure, 2 bad arguments or missing files, 3 the release is not what its "
        "signature or digest says.",
    )
    for name, field in ServerConfig.model_fields.items():
        option = "--" + name.replace("_", "-")
        default = "" if field.is_required() or field.default is None else f" (default: {field.default})"
        text = (field.description or "") + default
        if field.annotation is bool:
            top.add_argument(option, action="store_const", const="1", default=None, help=text)
        else:
            top.add_argument(option, default=None, metavar=name.upper(), help=text)
    return top


def read_config(argv: Sequence[str] | None = None, environ: Mapping[str, str] | None = None) -> ServerConfig:
    """Arguments over environment over defaults. Raises :class:`BadInput` naming every setting that is wrong."""
    environ = os.environ if environ is None else environ
    given = {name: value for name, value in vars(parser().parse_args(argv)).items() if value is not None}
    for name in ServerConfig.model_fields:
        variable = _variable(name)
        if name not in given and environ.get(variable):
            given[name] = environ[variable]
    try:
        return ServerConfig.model_validate(given)
    except ValidationError as error:
        wrong = "; ".join(f"{_option(str(e['loc'][0]))}: {e['msg'].lower()}" for e in error.errors())
        raise BadInput(f"bad settings: {wrong}", "see --help") from error


def _variable(name: str) -> str:
    # the digest's variable is the one that deploy writes into the pod
    return "RANKOPS_RELEASE_DIGEST" if name == "digest" else f"RANKOPS_{name.upper()}"


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')} ({_variable(name)})"
