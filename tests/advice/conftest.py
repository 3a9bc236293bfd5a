from __future__ import annotations

from tests.serving.conftest import Shop, shop

__all__ = ["Shop", "shop"]
