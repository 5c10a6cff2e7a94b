"""Frozen values and their laws; standard library only."""
