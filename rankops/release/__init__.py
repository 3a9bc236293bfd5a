"""Releases: immutable, content-addressed, signed bundles of everything that a server needs.

Belongs here: the manifest (``release.json``), the exact product index, building, signing, verifying and fetching
bundles. Does not belong here: how an artifact was made (``rankops.compression``), whether it may go live
(``rankops.evaluation``), or answering requests (``rankops.serving``). No torch, no transformers.
"""
