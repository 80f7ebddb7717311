"""Metrics: what scores a prediction, one small module each, and choosing them by name."""
