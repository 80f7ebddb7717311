"""Checkpoints: written, read, merged, imported from the released format."""
