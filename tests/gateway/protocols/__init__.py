"""Tests of `harness/gateway/protocols`."""
