"""Tests of `harness/analysis/predict`."""
