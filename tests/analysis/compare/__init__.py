"""Tests of `harness/analysis/compare`."""
