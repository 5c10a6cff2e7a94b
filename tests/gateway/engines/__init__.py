"""Tests of `harness/gateway/engines`."""
