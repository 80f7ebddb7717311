"""Suites, submissions and verdicts: the schema from before there were migrations."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make the tables of a board."""
    op.create_table(
        "suites",
        sa.Column("fingerprint", sa.String(64), primary_key=True),
        sa.Column("targets_fingerprint", sa.String(64), nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("version", sa.String(100), nullable=False),
        sa.Column("about", sa.JSON(), nullable=False),
    )
    op.create_table(
        "submissions",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("sha256", sa.String(64), nullable=False, unique=True),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("received", sa.DateTime(timezone=True), nullable=False),
        sa.Column(
            "suite_fingerprint", sa.String(64), sa.ForeignKey("suites.fingerprint"), nullable=False
        ),
        sa.Column("method", sa.String(200), nullable=False),
        sa.Column("version", sa.String(300), nullable=False),
        sa.Column("track", sa.String(20), nullable=False),
        sa.Column("prompt_mode", sa.String(20), nullable=False),
        sa.Column("card", sa.JSON(), nullable=False),
    )
    op.create_index("ix_submissions_suite_fingerprint", "submissions", ["suite_fingerprint"])
    op.create_index("ix_submissions_method", "submissions", ["method"])
    op.create_table(
        "verdicts",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("submission_id", sa.Integer(), sa.ForeignKey("submissions.id"), nullable=False),
        sa.Column("decided", sa.DateTime(timezone=True), nullable=False),
        sa.Column("level", sa.String(20), nullable=False),
        sa.Column("verdict", sa.JSON(), nullable=False),
        sa.Column("per_sample", sa.String(64), nullable=False),
    )
    op.create_index("ix_verdicts_submission_id", "verdicts", ["submission_id"])
