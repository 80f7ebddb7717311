"""A submission: its archive, its card, and the checks that it goes through."""
