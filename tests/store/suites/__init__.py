"""Tests of `harness/store/suites`."""
