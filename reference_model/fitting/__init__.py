"""Fitting at inference: what adapts the base, searched for on an item's own pairs."""
