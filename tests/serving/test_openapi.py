from __future__ import annotations

import contextlib
import html.parser
import json
import re
from collections.abc import Iterator

import jsonschema
import pytest
from starlette.routing import Route

from rankops.serving.app import create_app
from rankops.serving.client import Client
from rankops.serving.config import ServerConfig
from rankops.serving.docs import _asset, _hash, render
from rankops.serving.openapi import STATUSES, openapi
from tests.serving.conftest import running
from tests.support.tiny_tasks import make_releases


@pytest.fixture(scope="module")
def releases(tmp_path_factory):
    return make_releases(tmp_path_factory.mktemp("releases"))


@pytest.fixture(scope="module")
def clients(releases) -> Iterator[dict[str, Client]]:
    with contextlib.ExitStack() as stack:
        found = {}
        for task, release in releases.items():
            config = ServerConfig(release=release.folder, public_key=release.public_key, port=0)
            found[task] = stack.enter_context(Client(stack.enter_context(running(config))))
        yield found


@pytest.fixture(scope="module")
def document(clients):
    return clients["retrieval"].get("/openapi.json").body


def test_the_document_is_valid_openapi(document):
    validator = pytest.importorskip("openapi_spec_validator")
    assert document["openapi"] == "3.1.0"
    validator.validate(document)
    names = [o["operationId"] for methods in document["paths"].values() for o in methods.values()]
    assert len(set(names)) == len(names)


def test_every_route_of_the_application_is_documented(shop, document):
    app = create_app(shop.config())
    served = {(r.path, m.lower()) for r in app.routes if isinstance(r, Route) for m in r.methods or () if m != "HEAD"}
    assert {(path, method) for path, methods in document["paths"].items() for method in methods} == served


def test_a_route_that_nobody_described_is_refused(shop):
    async def bare(_request):
        raise AssertionError

    app = create_app(shop.config())
    with pytest.raises(LookupError, match="/bare"):
        openapi([*app.routes, Route("/bare", bare)], app.state.requests, keys=False)


def test_the_limits_are_the_servers_own(shop):
    config = shop.config(max_k=7, max_query_chars=33, max_items=5, default_k=3)
    schemas = create_app(config).state.openapi["components"]["schemas"]
    search, rerank = schemas["SearchRequest"]["properties"], schemas["RerankRequest"]["properties"]
    assert (search["k"]["maximum"], search["k"]["default"], search["query"]["maxLength"]) == (7, 3, 33)
    assert rerank["products"]["maxItems"] == 5
    with running(config) as address, Client(address) as client:
        assert client.post("/search", {"query": "x" * 33, "k": 7}).status == 200
        assert len(client.post("/search", {"query": "red"}).body["results"]) == 3
        for wrong in ({"query": "x" * 34}, {"query": "x", "k": 8}):
            assert client.post("/search", wrong).status == 400


ASKED = {
    "retrieval": [
        ("post", "/search", {"query": "red shoe", "k": 3}),
        ("get", "/search?q=red", None),
        ("post", "/v2/models/retriever/infer", "query"),
    ],
    "ranking": [
        ("post", "/rerank", {"query": "red shoe", "products": ["p001", {"id": "mine", "text": "red shoe"}]}),
        ("post", "/rerank", {"pairs": [{"query": "red shoe", "product": "lamp"}]}),
    ],
    "recommendation": [
        ("post", "/recommend", {"items": ["p001", "nothing"], "max_per_category": 4, "exclude": ["p002"]}),
        ("get", "/recommend?items=p001,p002&k=2&exclude=p003&max_per_category=1", None),
        ("post", "/v2/models/recommender/infer", "items"),
    ],
}
SHARED = [
    ("get", path, None)
    for path in ("/", "/healthz", "/readyz", "/v2", "/v2/health/live", "/v2/health/ready", "/v2/models/stats")
] + [("post", "/v2/repository/index", {}), ("post", "/v2/repository/models/x/load", {}), ("get", "/v2/models/x", None)]


@pytest.mark.parametrize("task", list(ASKED))
def test_real_answers_are_as_documented(clients, releases, document, task):
    model = releases[task].manifest.model
    per_model = [("get", f"/v2/models/{model}{part}", None) for part in ("", "/ready", "/config", "/stats")]
    statuses = set()
    for method, path, body in [*SHARED, *ASKED[task], *per_model]:
        reply = clients[task].get(path) if method == "get" else clients[task].post(path, _inference(body))
        statuses.add(reply.status)
        schema, operation = documented_answer(document, method, path, reply.status)
        jsonschema.validate(reply.body, schema | {"components": document["components"]})
        assert known_fields(reply.body, schema, document), (path, reply.body, operation["operationId"])
    assert statuses == {200, 400, 404}


def _inference(body):
    if not isinstance(body, str):
        return body
    return {"inputs": [{"name": body, "shape": [1], "datatype": "BYTES", "data": ["red p001"]}], "id": "x"}


def documented_answer(document, method, path, status):
    path = path.partition("?")[0]
    for template, methods in document["paths"].items():
        if method in methods and re.fullmatch(re.sub(r"{\w+}", "[^/]+", template), path):
            answer = methods[method]["responses"][str(status)]
            if "$ref" in answer:
                answer = document["components"]["responses"][answer["$ref"].rpartition("/")[2]]
            return answer["content"]["application/json"]["schema"], methods[method]
    raise AssertionError(path)


def known_fields(value, schema, document) -> bool:
    """No field is answered that the document does not name."""
    if "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    if "anyOf" in schema:
        return any(known_fields(value, option, document) for option in schema["anyOf"])
    if isinstance(value, list):
        return all(known_fields(item, schema.get("items", {}), document) for item in value)
    if not isinstance(value, dict) or "properties" not in schema:
        return True
    # what a configuration has beyond the protocol is the extension's to define
    extra = {"version_policy", "instance_group", "parameters"}
    return all(
        name in extra or (name in schema["properties"] and known_fields(item, schema["properties"][name], document))
        for name, item in value.items()
    )


def test_errors_that_a_server_answers_have_a_description():
    assert set(STATUSES) == {400, 401, 404, 408, 413, 415, 429, 503, 504}


class Links(html.parser.HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.found += [value for name, value in attrs if name in ("src", "href", "action", "style", "onclick")]
        if tag not in ("meta", "input", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_loads_nothing_and_names_every_endpoint(address, document):
    from tests.serving.test_search import raw

    status, headers, content = raw(address, "GET", "/docs")
    text = content.decode()
    assert (status, headers["content-type"]) == (200, "text/html; charset=utf-8")
    links = Links()
    links.feed(text)
    assert (links.found, links.open) == (["openapi.json"], [])
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    for name in ("docs.css", "docs.js"):
        assert _hash(_asset(name)) in policy
        assert _asset(name) in text
    for path in document["paths"]:
        assert f'data-path="{path}"' in text


def test_the_page_escapes_what_the_document_says(document):
    evil = json.loads(json.dumps(document).replace("Products for a query", "<script>alert(1)</script>"))
    assert "<script>alert" not in render(evil, "", "")


@pytest.mark.browser
def test_a_person_sends_a_request_from_the_page(address):
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import WebDriverWait

    from tests.support.browser import browser, missing

    if reason := missing():
        pytest.skip(reason)
    with browser() as driver:
        driver.get(f"{address}/docs")
        form = driver.find_element(By.CSS_SELECTOR, '.operation[data-method="POST"][data-path="/search"]')
        form.find_element(By.TAG_NAME, "summary").click()
        form.find_element(By.TAG_NAME, "button").click()
        shown = form.find_element(By.CLASS_NAME, "answer")
        WebDriverWait(driver, 10).until(lambda _: shown.text.startswith("200"))
        assert '"query": "red shoes"' in shown.text
        assert not [entry for entry in driver.get_log("browser") if "favicon" not in entry["message"]]
