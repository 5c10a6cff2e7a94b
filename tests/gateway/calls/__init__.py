"""Tests of `harness/gateway/calls`."""
