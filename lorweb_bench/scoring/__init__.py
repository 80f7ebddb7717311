"""Predictions against a suite: scores, reports, and the control with shuffled pairs."""
