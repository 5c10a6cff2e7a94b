"""Tests of harness.domain."""
