"""Product search with LitServe: batching on, a worker a core, one thread each."""

import argparse
from pathlib import Path
from typing import Any

import litserve as ls
from onnx_search import OnnxSearch


class SearchAPI(ls.LitAPI):
    def __init__(self, encoder: Path, data: Path, **options: Any) -> None:
        super().__init__(**options)
        self.folders = (encoder, data)

    def setup(self, device: str) -> None:
        self.engine = OnnxSearch(*self.folders, threads=1)

    def decode_request(self, request):  # LitServe reads an annotation here as the request's type
        return str(request["query"])

    def predict(self, queries: Any) -> Any:
        # without batching LitServe hands over one query
        return self.engine.search([queries])[0] if isinstance(queries, str) else self.engine.search(queries)

    def encode_response(self, output: dict[str, Any]) -> dict[str, Any]:
        return output


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--encoder", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--batch", type=int, default=1)
    given = parser.parse_args()
    batching = {"max_batch_size": given.batch, "batch_timeout": 0.002} if given.batch > 1 else {}
    api = SearchAPI(given.encoder, given.data, api_path="/search", **batching)
    server = ls.LitServer(
        api, accelerator="cpu", devices=1, workers_per_device=given.workers, healthcheck_path="/readyz"
    )
    server.run(host="127.0.0.1", port=given.port, generate_client_file=False, log_level="warning")
