"""Speko's protocols."""
