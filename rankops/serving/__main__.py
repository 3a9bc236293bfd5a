"""``python -m rankops.serving``: serve one release; see ``--help``."""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType

from rankops.errors import BadInput, IntegrityError, RankopsError
from rankops.serving import logs
from rankops.serving.config import ServerConfig, read_config


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT, then drain; return the exit code."""
    # As a container's first process Python would ignore SIGTERM until somebody handles it, and then be killed after the
    # whole grace period; before there is anything to drain, it simply ends.
    signal.signal(signal.SIGTERM, _not_yet_serving)
    try:
        config = read_config(argv)
    except RankopsError as error:
        return _refuse(error)
    for library in ("OPENBLAS", "OMP", "MKL"):
        # the pool's threads are the parallelism; must be set before numpy loads
        os.environ.setdefault(f"{library}_NUM_THREADS", "1")
    logs.configure(config.log_format)
    try:
        return serve(config)
    except BadInput as error:
        return _refuse(error, config)


def serve(config: ServerConfig) -> int:
    """Run uvicorn. A release that is refused ends the process with one line on standard error."""
    import uvicorn

    from rankops.serving.app import create_app
    from rankops.serving.connection import settings
    from rankops.serving.drain import Drain, DrainingServer

    app = create_app(config, on_failed=lambda: setattr(server, "should_exit", True))
    drain = Drain(app)
    # No access log: its lines would hold queries, and with them personal data.
    server = DrainingServer(
        uvicorn.Config(
            drain,
            host=config.host,
            port=config.port,
            log_config=None,
            access_log=False,
            log_level="warning",
            ws="none",
            proxy_headers=False,
            **settings(config),
            lifespan="on",
            server_header=False,
            timeout_graceful_shutdown=config.drain_seconds,
        ),
        drain,
        config.linger_seconds,
    )

    def ended(number: int, frame: FrameType | None) -> None:
        # uvicorn raises the signal again after draining; a drained server has done its job and ends with 0
        if not drain.begun:
            _not_yet_serving(number, frame)
        logging.getLogger(__name__).info("drained")

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, ended)
    if config.pin is not None:
        signal.signal(signal.SIGHUP, lambda _number, _frame: app.state.service.check_pin())
    server.run()
    failure = app.state.service.failure
    return 0 if failure is None else _refuse(failure, config)


def _not_yet_serving(_number: int, _frame: FrameType | None) -> None:
    sys.exit(0)


def _refuse(error: RankopsError, config: ServerConfig | None = None) -> int:
    remedy = f" (remedy: {error.remedy})" if error.remedy else ""
    line = " ".join(f"rankops.serving refuses to start: {error.problem}{remedy}".split())
    if config is not None and config.log_format == "json":
        logging.getLogger("rankops.serving").critical(line)
    else:
        sys.stderr.write(line + "\n")
    return {BadInput: 2, IntegrityError: 3}.get(type(error), 1)


if __name__ == "__main__":
    sys.exit(main())
