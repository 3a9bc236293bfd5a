"""Capacity: what a release's server carries on this machine, and how many of it a shop needs.

Belongs here: starting the real server on a bundle and loading it, and sizing from what was measured. Does not: how load
is made (``rankops.load``), and what else could be better (``rankops.advice``).
"""
