"""Training: from a dataset and a base model to a checkpoint.

Here belong: resolving base models, building training examples (pairs, mined negatives, batches), the fine-tuning
run itself (seeded, resumable), its command for out-of-process runs, its curves, and the PyTorch encoder that reads
checkpoints. Not here: making data (``rankops.data``), judging a model against others (``rankops.evaluation``),
ONNX (``rankops.compression``).
"""
