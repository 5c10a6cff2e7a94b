"""Tests of `harness/runner`."""
