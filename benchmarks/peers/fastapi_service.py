"""Product search as a good engineer writes it in an afternoon: FastAPI, sentence-transformers and faiss.

``python fastapi_service.py --weights FOLDER --data FOLDER --port N``; the data folder holds products.jsonl and
vectors.npy (float32, unit length, by the same weights).
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel, Field
from sentence_transformers import SentenceTransformer


class Search(BaseModel):
    query: str = Field(min_length=1, max_length=512)
    k: int = Field(default=10, ge=1, le=100)


def create_app(weights: str, data: Path) -> FastAPI:
    model = SentenceTransformer(weights, device="cpu", local_files_only=True)
    products = [json.loads(line) for line in (data / "products.jsonl").open(encoding="utf-8")]
    vectors = np.load(data / "vectors.npy")
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    app = FastAPI()

    @app.get("/readyz")
    def ready() -> dict[str, bool]:
        return {"ready": True}

    @app.post("/search")
    def search(request: Search) -> dict[str, Any]:
        vector = model.encode([request.query], normalize_embeddings=True)
        scores, rows = index.search(vector, request.k)
        results = [
            {**products[row], "score": float(score)} for row, score in zip(rows[0], scores[0], strict=True) if row >= 0
        ]
        return {"query": request.query, "results": results}

    return app


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--weights", required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    given = parser.parse_args()
    uvicorn.run(create_app(given.weights, given.data), host="127.0.0.1", port=given.port, log_level="warning")
