"""rankops: GitOps for search and recommendation models.

The library under the Dagster code location. It never imports Dagster: every decision, file format and
transaction here can be read, called and tested without a framework.
"""

__version__ = "0.1.0"
