"""Peers of the server benchmarks: what people write with other tools. Each file runs in a virtual environment of its
own, made from the requirements beside it, and imports nothing of rankops."""
