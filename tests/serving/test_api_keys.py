from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rankops.errors import BadInput
from rankops.serving import api_keys
from rankops.serving.api_keys import Bucket, Key, KeyRing, hash_key, new_key, parse_keys, parse_line
from rankops.serving.app import create_app
from rankops.serving.client import Client
from rankops.serving.verification import verify_live
from tests.serving.conftest import ServerProcess, running
from tests.serving.test_process import arguments, wait_until_ready
from tests.serving.test_search import raw

OPEN = ("/healthz", "/readyz", "/v2/health/live", "/v2/health/ready", "/metrics", "/", "/docs", "/openapi.json")
CLOSED = ("/search?q=red", "/v2", "/v2/models/retriever", "/v2/models/stats", "/nowhere")


@pytest.fixture
def keys(tmp_path, monkeypatch):
    """A file with one key; returns the file and the secret. Changes are seen at once."""
    monkeypatch.setattr(KeyRing.__init__, "__defaults__", (KeyRing.__init__.__defaults__[0], 0.0))
    secret, key = new_key("shop")
    file = tmp_path / "api-keys"
    file.write_text(f"# keys of tests\n\n{key.line()}\n")
    return file, secret


def bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


def replace(file, *lines: str) -> None:
    """As Kubernetes does it: another file under the same name, all at once."""
    new = file.with_suffix(".new")
    new.write_text("\n".join(lines))
    os.replace(new, file)


def test_without_a_key_only_health_metrics_and_documentation_answer(shop, keys):
    file, secret = keys
    with running(shop.config(api_keys=file)) as address:
        for path in OPEN:
            assert raw(address, "GET", path)[0] == 200, path
        for path in CLOSED:
            status, headers, content = raw(address, "GET", path)
            assert status == 401, path
            assert headers["www-authenticate"] == 'Bearer realm="rankops"'
            assert "X-Api-Key" in json.loads(content)["error"]
        for headers in (bearer(secret), {"X-Api-Key": secret}, {"Authorization": "Basic YQ==", "X-Api-Key": secret}):
            assert raw(address, "GET", "/search?q=red", headers=headers)[0] == 200
        document = json.loads(raw(address, "GET", "/openapi.json")[2])
        assert document["paths"]["/search"]["get"]["security"] == [{"bearer": []}, {"header": []}]
        assert "401" in document["paths"]["/search"]["get"]["responses"]
        assert "security" not in document["paths"]["/healthz"]["get"]
        assert raw(address, "OPTIONS", "/search")[0] == 204


@pytest.mark.parametrize(
    "wrong",
    ["", "x", "rk_", "rk_" + "A" * 43, "rk_" + "A" * 44, "Größe", "rk_" + "é" * 43, "\x00", "shop", "a" * 9000],
)
def test_a_wrong_key_is_401_and_says_so(shop, keys, wrong):
    with running(shop.config(api_keys=keys[0])) as address:
        status, headers, _ = raw(address, "GET", "/search?q=red", headers=_sent(wrong))
        assert status in (400, 401)
        if status == 401:
            assert headers["www-authenticate"].startswith("Bearer")


def _sent(value: str) -> dict[str, str]:
    return {"X-Api-Key": value.encode().decode("latin-1").replace("\x00", "")}


def test_keys_rotate_without_a_restart_and_a_broken_file_keeps_those_before(shop, keys, caplog):
    file, old = keys
    new, key = new_key("shop")
    with running(shop.config(api_keys=file)) as address:

        def statuses():
            return [raw(address, "GET", "/search?q=red", headers=bearer(secret))[0] for secret in (old, new)]

        assert statuses() == [200, 401]
        replace(file, parse_keys(file.read_text(), "")[0].line(), key.line())
        assert statuses() == [200, 200]
        replace(file, key.line())
        assert statuses() == [401, 200]
        for broken in (f"shop sha256:{'0' * 63}", "", old):
            replace(file, broken)
            assert statuses() == [401, 200]
        text = raw(address, "GET", "/metrics")[2].decode()
        assert "rankops_keys_broken 1.0" in text
        assert 'rankops_key_reloads_total{outcome="failed"} 3.0' in text
        assert 'rankops_key_reloads_total{outcome="loaded"} 3.0' in text
        file.unlink()
        assert statuses() == [401, 200]
        replace(file, key.line())
        assert statuses() == [401, 200]
        assert "rankops_keys_broken 0.0" in raw(address, "GET", "/metrics")[2].decode()
    said = "\n".join(record.getMessage() for record in caplog.records)
    assert "the API keys stay as they were" in said
    assert old not in said


def test_a_key_beyond_its_rate_is_429_and_says_when_to_try_again(shop, tmp_path):
    slow, key = new_key("slow", rate=0.01)
    free, other = new_key("free")
    file = tmp_path / "api-keys"
    file.write_text(f"{key.line()}\n{other.line()}")
    with running(shop.config(api_keys=file, metrics_need_key=True)) as address:
        assert raw(address, "GET", "/search?q=red", headers=bearer(slow))[0] == 200
        status, headers, content = raw(address, "GET", "/search?q=red", headers=bearer(slow))
        assert status == 429
        assert 1 <= int(headers["retry-after"]) <= 100
        assert "'slow' may ask 0.01 times a second" in json.loads(content)["error"]
        assert raw(address, "GET", "/metrics")[0] == 401
        text = raw(address, "GET", "/metrics", headers=bearer(free))[2].decode()
    assert 'rankops_key_requests_total{key="slow",outcome="allowed"} 1.0' in text
    assert 'rankops_key_requests_total{key="slow",outcome="limited"} 1.0' in text
    assert 'rankops_key_refused_total{reason="missing"} 1.0' in text
    for secret in (slow, free):
        assert secret not in text


def test_names_that_left_the_file_leave_the_metrics(shop, keys):
    file, _ = keys
    with running(shop.config(api_keys=file)) as address:
        assert 'key="shop"' in raw(address, "GET", "/metrics")[2].decode()
        replace(file, new_key("other")[1].line())
        text = raw(address, "GET", "/metrics")[2].decode()
    assert 'key="other"' in text
    assert 'key="shop"' not in text


def test_an_expired_key_is_refused_from_its_day_on(tmp_path):
    today = datetime.now(UTC).date()
    tomorrow, (past, expired), (present, valid) = (
        today + timedelta(days=1),
        new_key("a", expires=today),
        new_key("a", expires=today + timedelta(days=1)),
    )
    file = tmp_path / "keys"
    file.write_text(f"{expired.line()}\n{valid.line()}")
    ring = KeyRing(file)
    assert ring.find(past) is None
    assert ring.find(present) == Key("a", hash_key(present), None, tomorrow)


def test_a_bucket_gives_its_rate_and_no_more(monkeypatch):
    now = 100.0
    monkeypatch.setattr(api_keys.time, "monotonic", lambda: now)
    bucket = Bucket(10.0)
    assert sum(bucket.take(now) == 0 for _ in range(50)) == 10
    given = sum(bucket.take(now + step / 100) == 0 for step in range(1, 501))
    assert given in (49, 50)
    assert Bucket(0.1).take(now) == 0
    slow = Bucket(0.1)
    slow.take(now)
    assert slow.take(now) == 10


@given(st.text(max_size=120))
def test_any_line_is_a_key_or_a_clear_refusal_that_does_not_repeat_it(line):
    try:
        key = parse_line(line)
    except BadInput as error:
        assert error.remedy
        if len(line.strip()) > 16:
            assert line.strip() not in error.problem
        return
    assert parse_line(key.line()) == key


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has 0 keys"),
        ("# nothing\n\n", "has 0 keys"),
        ("shop sha256:zz", "line 1: it is not of the form"),
        (f"ok sha256:{'a' * 64}\nShop sha256:{'b' * 64}", "line 2: it is not of the form"),
        (f"shop sha256:{'a' * 64} rate=fast", "option 'rate'"),
        (f"shop sha256:{'a' * 64} rate=0", "option 'rate'"),
        (f"shop sha256:{'a' * 64} expires=soon", "is no day"),
        (f"shop sha256:{'a' * 64} admin=1", "option 'admin'"),
        (f"a sha256:{'a' * 64}\nb sha256:{'a' * 64}", "has a key twice"),
        ("\n".join(f"k{n} sha256:{n:064x}" for n in range(1001)), "has 1001 keys"),
    ],
)
def test_a_file_that_is_wrong_names_the_line(text, message):
    with pytest.raises(BadInput, match=message):
        parse_keys(text, "keys")


def test_a_server_refuses_to_start_with_a_broken_file_of_keys(shop, tmp_path):
    with pytest.raises(BadInput, match="cannot be read"):
        create_app(shop.config(api_keys=tmp_path / "nowhere"))
    file = tmp_path / "keys"
    file.write_text("password123")
    with ServerProcess(arguments(shop, api_keys=file)) as server:
        assert server.process.wait(30) == 2
        said = server.process.communicate()[1]
    assert "line 1" in said
    assert "password123" not in said


def test_the_command_prints_a_key_once_and_the_server_takes_its_line(shop, tmp_path):
    command = [sys.executable, "-c", "from rankops.cli import app; app()", "api-key", "new"]
    arguments_ = ["shop", "--rate", "50", "--expires", "2099-01-31"]
    result = subprocess.run([*command, *arguments_], capture_output=True, text=True, check=True)
    secret, line = result.stdout.splitlines()
    assert parse_line(line) == Key("shop", hash_key(secret), 50.0, date(2099, 1, 31))
    assert secret not in result.stderr
    file = tmp_path / "keys"
    file.write_text(line)
    with ServerProcess(arguments(shop, api_keys=file)) as server:
        wait_until_ready(server)
        with Client(server.url, api_key=secret) as client:
            assert client.get("/search?q=red").status == 200
        server.process.terminate()
        assert server.process.wait(20) == 0
        output = "".join(server.process.communicate())
    assert secret not in output
    for wrong in (["Shop"], ["shop", "--rate", "0"], ["shop", "--expires", "soon"]):
        result = subprocess.run([*command, *wrong], capture_output=True, text=True, check=False)
        assert result.returncode == 1
        assert result.stderr


def test_verification_asks_with_its_key_and_fails_without_one(shop, keys):
    file, secret = keys
    with running(shop.config(api_keys=file)) as address:
        for key, passes in ((secret, True), (None, False)):
            report = verify_live(
                address,
                shop.release,
                expected_digest=shop.manifest.digest,
                latency_objective_ms=60_000,
                requests=3,
                api_key=key,
            )
            assert report.passed is passes
