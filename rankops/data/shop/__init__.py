"""The generated shop: a world whose truth is known.

Modules: ``world`` (the declaration people write), ``vocabulary`` and ``jargon`` (its words), ``catalogue``,
``queries``, ``users``, ``legacy`` (the keyword engine in production before us), ``truth`` (graded relevance),
``events`` (what shoppers do with a page) and ``shop`` (the one class that callers use). Nothing here reads files
other than a world file, and nothing here is needed for a team's own data.
"""
