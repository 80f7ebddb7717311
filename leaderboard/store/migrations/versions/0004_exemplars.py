"""How many exemplar pairs a method was shown."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add the column; everything on a board of before was shown one pair."""
    column = sa.Column("exemplars", sa.Integer(), nullable=False, server_default="1")
    op.add_column("submissions", column)
