"""Tests of `harness/pipeline/transport`."""
