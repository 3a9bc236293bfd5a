"""What happens by itself: jobs, schedules and sensors.

Everything here is thin: each decision is a pure function in the library (``rankops.drift.decision``), and a sensor
only reads, calls it, writes the record and asks for the run.
"""
