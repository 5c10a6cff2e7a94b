"""Pure functions from stored values to numbers."""
