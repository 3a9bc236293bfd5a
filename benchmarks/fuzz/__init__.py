"""Requests that nobody should send, against a real server process: no 5xx, no crash.

``python -m benchmarks.fuzz`` (see ``--help``); the tests run a short version of it.
"""
