"""Requests that schemathesis makes from the server's own OpenAPI document, right ones and wrong ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks.fuzz.wire import Sent


def described_requests(
    document: dict[str, Any], model: str, digest: str, count: int, ask: Callable[[Sent], object], seed: int
) -> None:
    """Send about ``count`` of them by ``ask``, spread evenly over endpoints, methods and right or wrong."""
    import requests
    import schemathesis
    from hypothesis import HealthCheck, Phase, given, settings
    from hypothesis import seed as seeded
    from schemathesis import GenerationMode

    loaded = schemathesis.openapi.from_dict(document)
    operations = [result.ok() for result in loaded.get_all_operations()]
    each = max(1, count // (2 * len(operations)))
    limits = settings(
        max_examples=each,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],
    )
    for operation in operations:
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            try:
                strategy = operation.as_strategy(generation_mode=mode)
            except Exception as error:
                if "negat" not in str(error).lower():
                    raise
                continue

            @seeded(seed)
            @limits
            @given(strategy)
            def send(case: Any) -> None:
                if "model" in (case.path_parameters or {}):
                    case.path_parameters = {"model": model, "version": digest}
                known = case.as_transport_kwargs(base_url="http://fuzz")
                wanted = ("method", "url", "headers", "params", "data", "json", "cookies")
                prepared = requests.Request(**{name: known[name] for name in wanted if name in known}).prepare()
                ask(_sent(prepared))

            try:
                send()
            except Exception as error:
                if type(error).__name__ not in ("Unsatisfiable", "SkipTest", "UnsatisfiableNegation"):
                    raise


def _sent(prepared: Any) -> Sent:
    body = prepared.body.encode() if isinstance(prepared.body, str) else prepared.body
    framing = ("content-length", "transfer-encoding", "connection", "host")
    headers = tuple(
        (str(name), _bytes(value)) for name, value in prepared.headers.items() if str(name).lower() not in framing
    )
    target = prepared.path_url.encode("latin-1", "replace")
    return Sent("described", prepared.method, target, headers, body if isinstance(body, bytes) else None)


def _bytes(value: Any) -> bytes:
    data = value if isinstance(value, bytes) else str(value).encode("latin-1", "replace")
    return data.replace(b"\r", b"").replace(b"\n", b"")
