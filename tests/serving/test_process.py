"""The server as a pod runs it: a process with arguments, signals and an exit code."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from rankops.encoding import OnnxEncoder
from rankops.errors import BadInput, IntegrityError, RankopsError, RemoteUnavailable
from rankops.release.signing import create_key_pair
from rankops.serving.app import create_app
from rankops.serving.client import Client
from rankops.serving.config import read_config
from rankops.serving.engines import load_engine
from rankops.serving.web import ApiError
from tests.serving.conftest import ServerProcess
from tests.support.tiny_artifact import make_tiny_artifact
from tests.support.tiny_release import VOCABULARY, break_and_resign


def arguments(shop, **changes: object) -> list[str]:
    given = {"--release": shop.release, "--digest": shop.manifest.digest, "--public-key": shop.public_key} | {
        f"--{name.replace('_', '-')}": value for name, value in changes.items()
    }
    return [str(part) for pair in given.items() for part in pair]


def wait_until_ready(server: ServerProcess) -> None:
    with Client(server.url) as client:
        for _ in range(600):
            try:
                if client.get("/readyz").status == 200:
                    return
            except RemoteUnavailable:
                assert server.process.poll() is None, server.process.communicate()
            time.sleep(0.05)
    raise AssertionError("never ready")


def test_sigterm_drains_running_requests_and_writes_the_request_log(shop, tmp_path):
    log = tmp_path / "requests"
    environment = {"RANKOPS_TRUST_REQUEST_TIME": "1"}
    with ServerProcess(arguments(shop, request_log=log, threads=1), environment) as server:
        wait_until_ready(server)
        answered: list[int] = []
        refused = threading.Event()

        def search_until_the_server_is_gone():
            with Client(server.url) as client:
                while not refused.is_set():
                    try:
                        reply = client.post("/search", {"query": "red shoe jane@example.org"})
                    except RemoteUnavailable:
                        refused.set()
                    else:
                        answered.append(reply.status)

        threads = [threading.Thread(target=search_until_the_server_is_gone) for _ in range(4)]
        for thread in threads:
            thread.start()
        while len(answered) < 50:
            time.sleep(0.01)
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(20) == 0
        for thread in threads:
            thread.join()
        output = "".join(server.process.communicate())
    assert set(answered) == {200}
    rows = [row for part in log.rglob("*.parquet") for row in pq.ParquetFile(part).read().to_pylist()]
    assert len(rows) == len(answered)
    assert {row["query"] for row in rows} == {"red shoe <email>"}
    assert {row["release"] for row in rows} == {shop.manifest.digest}
    assert "jane" not in output
    assert "red shoe" not in output
    assert "drained" in output


def refuse(command: list[str]) -> tuple[int, str]:
    with ServerProcess(command) as server:
        code = server.process.wait(30)
        return code, server.process.communicate()[1]


def test_a_changed_byte_is_refused_at_start_with_one_clear_line(shop, tmp_path):
    release = Path(shutil.copytree(shop.release, tmp_path / "release"))
    vectors = bytearray((release / "index" / "vectors.npy").read_bytes())
    vectors[-1] ^= 1
    (release / "index" / "vectors.npy").write_bytes(bytes(vectors))
    code, said = refuse(arguments(shop, release=release))
    assert code == 3
    assert "index/vectors.npy was changed" in said
    assert len([line for line in said.splitlines() if "refuses to start" in line]) == 1
    assert "Traceback" not in said


def test_the_wrong_digest_another_signer_and_a_mixed_index_are_refused(shop, tmp_path):
    _, other_key = create_key_pair(tmp_path / "keys")
    other = make_tiny_artifact(tmp_path / "other", VOCABULARY, seed=9)

    def mix(folder: Path) -> None:
        for file in other.iterdir():
            shutil.copyfile(file, folder / "encoder" / file.name)

    mixed = break_and_resign(
        shop.release,
        tmp_path / "mixed",
        mix,
        private_key=shop.private_key,
        encoder_digest=OnnxEncoder(other).digest,
    )
    cases: list[tuple[dict[str, object], type[RankopsError], str]] = [
        ({"digest": "d" * 64}, IntegrityError, "d" * 64),
        ({"public_key": other_key}, IntegrityError, r"release\.sig"),
        ({"release": tmp_path / "mixed", "digest": mixed.digest}, IntegrityError, "was built with encoder"),
        ({"release": tmp_path / "nowhere"}, BadInput, "nowhere"),
    ]
    for changes, kind, message in cases:
        with pytest.raises(kind, match=message):
            load_engine(shop.config(**changes))


def test_bad_settings_name_the_option_and_its_variable():
    command = [sys.executable, "-m", "rankops.serving", "--port", "99999", "--threads", "many"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    for name in ("--port (RANKOPS_PORT)", "--threads", "--release", "--public-key"):
        assert name in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_settings_come_from_arguments_then_environment_then_defaults():
    environment = {
        "RANKOPS_RELEASE": "/a",
        "RANKOPS_PUBLIC_KEY": "/k",
        "RANKOPS_RELEASE_DIGEST": "a" * 64,
        "RANKOPS_THREADS": "3",
        "RANKOPS_TRUST_REQUEST_TIME": "1",
    }
    config = read_config(["--threads", "4"], environment)
    assert (config.threads, config.port, config.digest) == (4, 8080, "a" * 64)
    assert (str(config.release), config.trust_request_time) == ("/a", True)


def test_the_server_imports_nothing_that_trains():
    code = (
        "import sys; import rankops.serving.app, rankops.serving.verification, rankops.release.__main__, "
        "rankops.release.bundle, rankops.release.signing, model_signing;"
        "print([m for m in ('torch','transformers','polars','pandas','optimum','dagster','mlflow') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(result.stdout.replace("'", '"')) == []


def test_a_start_loads_no_package_that_answering_does_not_need(shop):
    # what this cost: pandas and Arrow's datasets a quarter second; requests to anywhere are not a server's business
    code = (
        "import sys; from pathlib import Path; from rankops.serving.config import read_config;"
        "from rankops.serving.engines import load_engine; load_engine(read_config(sys.argv[1:]));"
        "print([m for m in ('pandas', 'pyarrow.dataset', 'pyarrow.flight', 'scipy', 'huggingface_hub', 'typer')"
        " if m in sys.modules])"
    )
    command = [sys.executable, "-c", code, *arguments(shop)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_a_server_tells_no_vendor_what_it_runs(shop, tmp_path):
    # ONNX Runtime would keep a database of events and a device id below ~/.cache, and upload it
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    environment |= {"HOME": str(tmp_path / "home"), "XDG_CACHE_HOME": str(tmp_path / "home" / ".cache")}
    (tmp_path / "home").mkdir()
    code = (
        "import sys; from rankops.serving.config import read_config; from rankops.serving.engines import load_engine;"
        "load_engine(read_config(sys.argv[1:]))"
    )
    subprocess.run([sys.executable, "-c", code, *arguments(shop)], env=environment, check=True)
    assert list((tmp_path / "home").rglob("*")) == []


def test_help_names_every_setting():
    result = subprocess.run(
        [sys.executable, "-m", "rankops.serving", "--help"], capture_output=True, text=True, check=True
    )
    for option in ("--release", "--digest", "--public-key", "--host", "--port", "--request-log", "--threads"):
        assert option in result.stdout


def test_nothing_is_searched_before_a_release_is_loaded(shop):
    service = create_app(shop.config()).state.service
    with pytest.raises(ApiError) as caught:
        service.engine()
    assert caught.value.status_code == 503
    service.start()
    for _ in range(1000):
        if service.release:
            break
        time.sleep(0.01)
    assert service.engine().manifest == shop.manifest
    service.stop()
