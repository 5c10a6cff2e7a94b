"""The tests of turnbench."""
