"""What the server needs to know: arguments, each with an environment variable (``RANKOPS_<NAME>``)."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from rankops.errors import BadInput


class ServerConfig(BaseModel):
    """Settings of one server process; one process serves one release."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    release: Path = Field(description="folder of the release (as 'python -m rankops.release fetch' leaves it)")
    public_key: Path = Field(description="PEM file of the release signer; nothing unsigned is ever served")
    digest: str | None = Field(
        default=None, pattern=r"^[0-9a-f]{64}$", description="hex digest that the release must have"
    )
    host: str = Field(default="127.0.0.1", description="address to listen on")
    port: int = Field(default=8080, ge=0, le=65535, description="port to listen on")
    threads: int = Field(default=2, ge=1, le=64, description="requests that are encoded and searched at a time")
    queue: int = Field(default=128, ge=1, description="requests that may wait for a thread; more are answered 503")
    request_log: Path | None = Field(default=None, description="folder of the request log (none: not logged)")
    request_log_mb: float = Field(default=512, gt=0, description="disk that the request log may use, in MB")
    request_log_seconds: float = Field(default=30, gt=0, description="longest time a record waits to be written")
    default_k: int = Field(default=10, ge=1, description="results of a search that does not say how many")
    max_k: int = Field(default=100, ge=1, description="most results of one search")
    max_query_chars: int = Field(default=512, ge=1, description="longest query, in characters")
    max_text_chars: int = Field(default=4096, ge=1, description="longest text of a product, in characters")
    max_body_bytes: int = Field(default=1 << 20, ge=64, description="largest request body, in bytes")
    max_batch: int = Field(default=64, ge=1, description="most texts of one /v2 inference")
    max_items: int = Field(default=200, ge=1, description="most products of one /recommend or /rerank request")
    min_score: float | None = Field(
        default=None,
        description="leave out results that score less: the fused score of a hybrid (0 to 1), else the cosine "
        "(verification expects none left out)",
    )
    drain_seconds: int = Field(default=20, ge=1, description="time that running requests get after SIGTERM")
    trust_request_time: bool = Field(
        default=False, description="let the header X-Request-Time set the log's time (replay of recorded traffic)"
    )


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
