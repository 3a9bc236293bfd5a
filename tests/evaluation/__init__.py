"""Tests of rankops.evaluation and of the Icecat benchmark that uses it."""
