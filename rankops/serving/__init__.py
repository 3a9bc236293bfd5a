"""The server of a release, and the client that verifies one.

Belongs here: loading a verified release, answering searches and the Open Inference Protocol, health, metrics, the
request log, and checking a live server against its release. Does not belong here: anything that trains, evaluates or
builds (the image holds no torch), or how a pod is declared (``k8s-overlays``).
"""
