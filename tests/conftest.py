"""What every test may rely on: no model hub, and the kustomize that ``make setup`` installed."""

from __future__ import annotations

import os

from hypothesis import settings

from rankops.state import REPOSITORY

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ["PATH"] = f"{REPOSITORY / '.rankops' / 'bin'}{os.pathsep}{os.environ['PATH']}"

# A busy machine must not fail a property: no test asserts a time.
settings.register_profile("rankops", deadline=None)
settings.load_profile("rankops")
