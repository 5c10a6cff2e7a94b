"""Tests of `harness/lanes`."""
