"""Tests of `harness/gateway/profiles`."""
