"""Pull requests: one Protocol, and the places that keep them.

What belongs here: the Protocol (``protocol``), forges behind it (``local`` for machines without one, ``github``,
``gitlab``), which one is meant (``config``) and who we are to it (``credentials``), and the text that reviewers read
(``pr_body``), made from plain values.

What does not: Git itself (a forge that must merge is handed a :class:`rankops.forge.protocol.Branches`), and deciding
when to propose a change (``rankops.overlays``).
"""
