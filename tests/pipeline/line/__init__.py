"""Tests of `harness/pipeline/line`."""
