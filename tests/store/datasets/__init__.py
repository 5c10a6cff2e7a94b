"""Tests of `harness/store/datasets`."""
