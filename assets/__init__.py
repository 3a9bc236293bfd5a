"""What exists: one module per stage of a model's life, each a factory that takes the model spec.

An asset body is thin: it reads typed references, calls one function of ``rankops.stages``, and shows the result.
"""
