"""Tests of `harness/analysis/statistics`."""
