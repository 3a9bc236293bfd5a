"""What ranx says: reads ``[qrels, run, metric names]`` as JSON, writes ``[query ids, {metric: scores}]``.

A program of its own because ranx is compiled by numba for over a minute; with ``NUMBA_DISABLE_JIT=1``, which must be
set before numba is imported anywhere in the process, the same source runs as plain Python in seconds.
"""

import json
import sys

from ranx import Qrels, Run, evaluate

qrels, ranked, names = json.load(sys.stdin)
run = Run(ranked)
scores = evaluate(Qrels(qrels), run, names, return_mean=False, make_comparable=True)
json.dump([list(run.run.keys()), {name: [float(value) for value in scores[name]] for name in names}], sys.stdout)
