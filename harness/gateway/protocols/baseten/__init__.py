"""Baseten's protocols."""
