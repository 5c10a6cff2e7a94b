"""Tests of `harness/analysis/words`."""
