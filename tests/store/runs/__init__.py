"""Tests of `harness/store/runs`."""
