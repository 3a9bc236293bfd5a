"""Proof that a commit is live: what Flux or Argo CD reports about it, and whether its pods have rolled out.

What belongs here: reading. Nothing in this package writes to a cluster; the only HTTP method it sends to the API
server's own resources is GET.
"""
