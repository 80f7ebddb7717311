"""Procedural scenes: endless stand-ins for photographs."""
