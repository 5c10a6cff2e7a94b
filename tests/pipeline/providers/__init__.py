"""Tests of `harness/pipeline/providers`."""
