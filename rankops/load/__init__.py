"""Load: requests sent to a server at a chosen rate, and what became of them.

Belongs here: arrivals, the generator, the histogram, the search for a capacity, tables and plots of them. Does not:
what a capacity means for a release (``rankops.capacity``) and what to do about it (``rankops.advice``).

The generator shares the machine with the server that it measures, so it is one thread over kept connections with
hand-made HTTP/1.1, and says what it cost and how late it was itself.
"""
