"""Tests of the pure functions from trials to findings."""
