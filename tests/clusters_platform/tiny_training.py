"""What the GPU pod runs in the test: speaks Pipes like rankops.training, and leaves a result."""

import json
import os
import sys
from pathlib import Path

from dagster_pipes import open_dagster_pipes

with open_dagster_pipes() as pipes:
    pipes.log.info("the training pod speaks")
    secrets = sorted(name for name in os.environ if "TOKEN" in name or "PASSWORD" in name or "SIGNING" in name)
    Path(sys.argv[1]).with_name("result.json").write_text(json.dumps({"node": "gpu-0", "secrets": secrets}))
