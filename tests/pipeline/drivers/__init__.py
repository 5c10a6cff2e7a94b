"""Tests of `harness/pipeline/drivers`."""
