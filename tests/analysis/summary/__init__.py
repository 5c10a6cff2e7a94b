"""Tests of `harness/analysis/summary`."""
