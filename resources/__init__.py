"""What assets reach outside through: one module per outside thing, each a ``ConfigurableResource``.

A resource holds configuration and opens the library's object; it decides nothing. Embedded defaults come from
:class:`rankops.state.LocalState` and are read when a run needs them, never at import.
"""
