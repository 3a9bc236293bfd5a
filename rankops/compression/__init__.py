"""Compression: a checkpoint becomes the ONNX artifact that is fastest on a target and still good enough.

Belongs here: export, graph optimization and quantization through Optimum, the ladder of candidates ("rungs") of
each target, how a rung is measured (parity, latency, size) and chosen, and how that is shown.
Does not belong here: running an artifact (``rankops.encoding``), how relevance is computed (injected as ``score``)
and where artifacts are kept (``rankops.store``).
"""
