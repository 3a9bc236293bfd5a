"""One module per stage of a model's life: where the rooms of the library meet.

Rooms (``data``, ``training``, ``evaluation``, ...) know nothing of each other. A stage takes references from the
store, calls the rooms, publishes what they made, and returns a typed reference. It imports no framework, so the
whole chain runs in a plain Python process; the Dagster assets are thin covers over these functions.
"""
