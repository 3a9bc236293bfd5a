"""``python -m rankops.serving``: serve one release; see ``--help``."""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType

from rankops.errors import BadInput, IntegrityError, RankopsError
from rankops.serving.config import ServerConfig, read_config


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT, then drain; return the exit code."""
    try:
        config = read_config(argv)
    except RankopsError as error:
        return _refuse(error)
    for library in ("OPENBLAS", "OMP", "MKL"):
        # the pool's threads are the parallelism; must be set before numpy loads
        os.environ.setdefault(f"{library}_NUM_THREADS", "1")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    return serve(config)


def serve(config: ServerConfig) -> int:
    """Run uvicorn. A release that is refused ends the process with one line on standard error."""
    import uvicorn

    from rankops.serving.app import create_app

    app = create_app(config, on_failed=lambda: setattr(server, "should_exit", True))
    # No access log: its lines would hold queries, and with them personal data.
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            host=config.host,
            port=config.port,
            log_config=None,
            access_log=False,
            log_level="warning",
            lifespan="on",
            server_header=False,
            timeout_graceful_shutdown=config.drain_seconds,
        )
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        # uvicorn raises the signal again after draining; a drained server has done its job and ends with 0
        signal.signal(number, _drained)
    server.run()
    failure = app.state.service.failure
    return 0 if failure is None else _refuse(failure)


def _drained(_number: int, _frame: FrameType | None) -> None:
    logging.getLogger(__name__).info("drained")


def _refuse(error: RankopsError) -> int:
    remedy = f" (remedy: {error.remedy})" if error.remedy else ""
    sys.stderr.write(" ".join(f"rankops.serving refuses to start: {error.problem}{remedy}".split()) + "\n")
    return {BadInput: 2, IntegrityError: 3}.get(type(error), 1)


if __name__ == "__main__":
    sys.exit(main())
