"""Performs a plan: interleaved trials, limits, re-runs, and an end that comes whatever happens."""
