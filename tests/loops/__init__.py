"""Tests of `harness/loops`."""
