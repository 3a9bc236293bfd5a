"""Our side against a named peer, measured side by side.

One module per benchmark, each with a function ``measure(progress) -> Comparison``; ``make bench`` runs all of them.
"""
