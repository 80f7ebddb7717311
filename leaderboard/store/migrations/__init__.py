"""Alembic's migrations of a board's database."""
