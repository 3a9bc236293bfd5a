"""rankops: GitOps for search and recommendation models.

The library under the Dagster code location. It never imports Dagster: every decision, file format and
transaction here can be read, called and tested without a framework.
"""

import os

# ONNX Runtime's wheels for Linux write events about models, with a device id, to ~/.cache and upload them to their
# vendor, from a thread that starts with the import. Here nothing is reported unless somebody asks for it.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__version__ = "0.1.0"
