"""Another release takes over while the server answers."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import threading
import time
import weakref
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from rankops.errors import BadInput
from rankops.files import write_json
from rankops.pace import is_paced
from rankops.serving.app import create_app
from rankops.serving.caller import Caller, enter_caller
from rankops.serving.client import Client
from rankops.serving.config import read_config
from rankops.serving.engines import load_engine
from rankops.serving.engines.retrieval import SearchEngine, Wish
from rankops.serving.service import Service
from rankops.serving.swap import read_pin
from rankops.store import ArtifactStore
from tests.serving.conftest import ServerProcess, Shop, running
from tests.serving.test_process import wait_until_ready
from tests.support.tiny_artifact import make_tiny_artifact
from tests.support.tiny_release import VOCABULARY, break_and_resign, make_release, write_catalogue


@pytest.fixture(scope="module")
def other(shop: Shop, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """A second release of the same model, by the same signer."""
    root = tmp_path_factory.mktemp("other")
    artifact = make_tiny_artifact(root / "artifact", VOCABULARY, seed=2)
    catalogue = write_catalogue(root / "catalogue.parquet")
    manifest = make_release(root / "release", artifact=artifact, catalogue=catalogue, private_key=shop.private_key)
    return replace(shop, release=root / "release", manifest=manifest)


def pin(path: Path, shop: Shop, **changes: object) -> Path:
    write_json(path, {"digest": shop.manifest.digest, "release": str(shop.release)} | changes)
    return path


def wait_for(client: Client, release: str, refused: bool = False) -> dict:
    for _ in range(500):
        body = client.get("/readyz").body
        if body.get("release") == release and ("refused" in body) is refused:
            return body
        time.sleep(0.02)
    raise AssertionError(f"never {release}: {body}")


def metric(client: Client, url: str, line: str) -> str:
    from tests.serving.test_search import raw

    text = raw(url, "GET", "/metrics")[2].decode()
    (found,) = [row for row in text.splitlines() if row.startswith(line + " ")]
    return found.rsplit(" ", 1)[1]


def test_a_new_pin_takes_over_without_a_dropped_request(shop, other, tmp_path):
    file = pin(tmp_path / "pin.json", shop)
    answers: Counter[tuple[int, str, str]] = Counter()
    stop = threading.Event()
    with running(shop.config(pin=file, pin_seconds=0.05)) as url, Client(url) as client:

        def ask():
            with Client(url) as own:
                while not stop.is_set():
                    reply = own.post("/search", {"query": "red shoe"})
                    answers[reply.status, reply.body["release"], reply.headers["x-rankops-release"]] += 1

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        first, second = shop.manifest.digest, other.manifest.digest
        for target, digest in ((other, second), (shop, first), (other, second)):
            pin(file, target)
            wait_for(client, digest)
        stop.set()
        for thread in threads:
            thread.join()
        assert metric(client, url, 'rankops_swaps_total{outcome="ok"}') == "3.0"
        assert metric(client, url, "rankops_ready") == "1.0"
    assert set(answers) == {(200, first, first), (200, second, second)}


def test_only_the_first_release_is_loaded_at_full_speed(shop, other, tmp_path, monkeypatch):
    """The next ones come beside requests: hashing and reading them leaves the cores to those."""
    paced = {}

    def noted(config):
        engine = load_engine(config)
        paced[engine.manifest.digest] = is_paced()
        return engine

    monkeypatch.setattr("rankops.serving.swap.load_engine", noted)
    file = pin(tmp_path / "pin.json", shop)
    with running(shop.config(pin=file, pin_seconds=0.05)) as url, Client(url) as client:
        wait_for(client, shop.manifest.digest)
        pin(file, other)
        wait_for(client, other.manifest.digest)
    assert paced == {shop.manifest.digest: False, other.manifest.digest: True}


def test_each_release_gives_its_own_answers_also_from_the_cache(shop, other, tmp_path):
    file = pin(tmp_path / "pin.json", shop)
    with running(shop.config(pin=file, pin_seconds=0.05)) as url, Client(url) as client:
        for served in (shop, other, shop):
            pin(file, served)
            wait_for(client, served.manifest.digest)
            for entry in json.loads((served.release / "golden.json").read_text())["requests"]:
                for _ in range(2):
                    reply = client.post("/search", entry["request"])
                    assert [r["product_id"] for r in reply.body["results"]] == entry["product_ids"]
                    assert [r["score"] for r in reply.body["results"]] == pytest.approx(entry["scores"], abs=1e-6)
        assert float(metric(client, url, "rankops_cache_hits_total")) >= 60


def test_a_refused_release_leaves_the_old_one_serving_and_is_told_everywhere(shop, other, tmp_path, caplog):
    broken = Path(shutil.copytree(other.release, tmp_path / "broken"))
    (broken / "index" / "vectors.npy").write_bytes(b"planted")
    file, first = pin(tmp_path / "pin.json", shop), shop.manifest.digest
    with running(shop.config(pin=file, pin_seconds=0.05)) as url, Client(url) as client:
        pin(file, other, release=str(broken))
        told = wait_for(client, first, refused=True)
        assert told["refused"]["release"] == other.manifest.digest
        assert "index/vectors.npy was changed" in told["refused"]["reason"]
        assert client.get("/search?q=red").body["release"] == first
        time.sleep(0.2)  # it is not tried again and again
        assert metric(client, url, 'rankops_swaps_total{outcome="refused"}') == "1.0"
        assert "vectors.npy was changed" in caplog.text
        file.write_text('{"digest": "abc"}')
        for _ in range(200):
            if "the pin" in (reason := client.get("/readyz").body.get("refused", {}).get("reason", "")):
                break
            time.sleep(0.02)
        assert "digest" in reason
        pin(file, shop)
        wait_for(client, first, refused=False)
        pin(file, other)
        wait_for(client, other.manifest.digest)


def test_a_release_of_another_model_is_refused(shop, other, tmp_path):
    def rename(folder: Path) -> None:
        manifest = json.loads((folder / "release.json").read_text())
        write_json(folder / "release.json", manifest | {"model": "stranger"})

    manifest = break_and_resign(other.release, tmp_path / "stranger", rename, private_key=shop.private_key)
    file = pin(tmp_path / "pin.json", shop)
    with running(shop.config(pin=file, pin_seconds=0.05)) as url, Client(url) as client:
        pin(file, replace(other, release=tmp_path / "stranger", manifest=manifest))
        told = wait_for(client, shop.manifest.digest, refused=True)
        assert "is of model stranger, this server serves retriever" in told["refused"]["reason"]


def test_a_uri_is_fetched_and_what_was_fetched_before_is_removed(shop, other, tmp_path):
    file, folder = tmp_path / "pin.json", tmp_path / "releases"
    store, stores = ArtifactStore(str(tmp_path / "store")), {}

    def by_uri(target: Shop) -> None:
        write_json(file, {"digest": target.manifest.digest, "uri": stores[target.manifest.digest]})

    for target in (shop, other):
        stores[target.manifest.digest] = store.publish("release", target.release, digest=target.manifest.digest).uri
    by_uri(shop)
    with running(shop.config(pin=file, pin_seconds=0.05, releases=folder)) as url, Client(url) as client:
        assert client.get("/readyz").body["release"] == shop.manifest.digest
        by_uri(other)
        wait_for(client, other.manifest.digest)
        assert client.get("/search?q=red").status == 200
        for _ in range(100):
            if [path.name for path in folder.iterdir()] == [other.manifest.digest]:
                break
            time.sleep(0.02)
        assert [path.name for path in folder.iterdir()] == [other.manifest.digest]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not JSON"),
        ('{"digest": "abc", "release": "x"}', "digest"),
        (json.dumps({"digest": "a" * 64}), "either 'release'"),
        (json.dumps({"digest": "a" * 64, "release": "x", "uri": "file:///x"}), "either 'release'"),
        (json.dumps({"digest": "a" * 64, "release": "x", "force": True}), "force"),
        ("[]", "pin"),
    ],
)
def test_a_wrong_pin_is_named_with_its_field(tmp_path, content, message):
    (tmp_path / "pin.json").write_text(content)
    with pytest.raises(BadInput, match=message):
        read_pin(tmp_path / "pin.json")
    with pytest.raises(BadInput, match="nowhere"):
        read_pin(tmp_path / "nowhere")


def test_a_relative_release_starts_at_the_pin(tmp_path):
    write_json(tmp_path / "pin.json", {"digest": "a" * 64, "release": "releases/a"})
    assert read_pin(tmp_path / "pin.json").release == tmp_path / "releases" / "a"


def test_a_pin_stands_for_the_release_in_the_settings():
    config = read_config(["--pin", "/pins/pin.json", "--public-key", "/k"], {})
    assert config.pin == Path("/pins/pin.json")


def test_fifteen_swaps_leave_no_old_engine_behind(shop, other, tmp_path):
    file = pin(tmp_path / "pin.json", shop)
    service = create_app(shop.config(pin=file, pin_seconds=3600)).state.service
    engines: list[weakref.ref] = []

    async def swap_and_search():
        service.start()
        for number in range(16):
            target = (shop, other)[number % 2]
            pin(file, target)
            if number:
                service.check_pin()
            while service.release != target.manifest.digest:
                await asyncio.sleep(0.005)
            engine = service.engine_of(SearchEngine)
            engines.append(weakref.ref(engine))
            for query in ("red shoe", "blue lamp"):
                assert (await service.search(engine, Wish(query, 3))).product_ids
            await service.run(lambda engine=engine: engine.infer({"query": ["red"]}))
            del engine
            await asyncio.sleep(0.01)

    asyncio.run(swap_and_search())
    for _ in range(200):
        if sum(ref() is not None for ref in engines) == 1:
            break
        time.sleep(0.02)
    assert [ref() is not None for ref in engines] == [False] * 15 + [True]
    service.stop()


def test_a_request_that_began_before_a_swap_ends_with_the_engine_it_took(shop, other, tmp_path):
    file = pin(tmp_path / "pin.json", shop)
    service: Service = create_app(shop.config(pin=file, pin_seconds=3600, cache_entries=0)).state.service

    async def test():
        service.start()
        while service.release is None:
            await asyncio.sleep(0.005)
        engine = service.engine_of(SearchEngine)
        before = await service.search(engine, Wish("red shoe", 5))
        pin(file, other)
        service.check_pin()
        while service.release != other.manifest.digest:
            await asyncio.sleep(0.005)
        after = await service.search(engine, Wish("red shoe", 5))
        assert (after.product_ids, after.scores) == (before.product_ids, before.scores)

    asyncio.run(test())
    service.stop()


def test_sighup_reads_the_pin_at_once(shop, other, tmp_path):
    file = pin(tmp_path / "pin.json", shop)
    arguments = ["--pin", str(file), "--pin-seconds", "3600", "--public-key", str(shop.public_key)]
    with ServerProcess(arguments) as server, Client(server.url) as client:
        wait_until_ready(server)
        assert client.get("/readyz").body["release"] == shop.manifest.digest
        pin(file, other)
        server.process.send_signal(signal.SIGHUP)
        wait_for(client, other.manifest.digest)
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(20) == 0


def test_a_caller_that_hangs_up_is_noticed_and_its_work_never_begins(shop):
    service: Service = create_app(shop.config(threads=1)).state.service
    blocked, began = threading.Event(), []

    async def hangs_up():
        await asyncio.sleep(0.05)
        return {"type": "http.disconnect"}

    async def asks():
        enter_caller(Caller([], hangs_up, time.perf_counter()))
        with pytest.raises(Exception, match="the caller has gone") as caught:
            await service.run(lambda: began.append(1))
        assert caught.value.status_code == 499

    async def test():
        busy = asyncio.ensure_future(service.run(lambda: blocked.wait(10)))
        await asyncio.sleep(0.01)
        await asyncio.ensure_future(asks())
        blocked.set()
        await busy
        await service.run(lambda: None)
        assert not began

    asyncio.run(test())
    service.stop()
