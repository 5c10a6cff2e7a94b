"""Tests of `harness/analysis/turn`."""
