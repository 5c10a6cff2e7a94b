"""Tests of `harness/analysis/gate`."""
