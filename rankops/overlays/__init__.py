"""Overlays: the Kustomize files that a GitOps controller applies, and the commits that change them.

What belongs here: building and checking overlays (``kustomize``, ``rules``, ``schemas``, ``validate``), the files
that only ``deploy`` writes (``component``, ``quarantine``), the Git transaction around them (``git``, ``mirror``,
``transaction``, ``deploy``, ``rollback``, ``history``) and what a commit says about itself (``trailers``).

What does not: talking to a cluster (``resources/cluster.py``), opening pull requests (``rankops.forge``; this room
only knows its Protocol), making or signing releases (``rankops.release``). Nothing here ever runs ``kubectl apply``.
"""
