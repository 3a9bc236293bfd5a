"""Advice: what could serve better, how much better, and how that was computed.

Belongs here: pure functions from measurements to advice, and the sweep that measures a changed setting. A gain is
either measured (the load test ran with the changed setting, interleaved with the default one) or comes from a model
that is named beside it. Nothing here changes a setting.
"""
