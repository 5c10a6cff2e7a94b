"""Tests of `harness/pipeline/recording`."""
