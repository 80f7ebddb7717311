"""Owners of submissions, what is told of them, fair shares of the service, workers alive."""

import sqlalchemy as sa
from alembic import op

from leaderboard.store.name_claims import skeleton

revision = "0003"
down_revision = "0002"

# Of each submission the team whose upload of these bytes was accepted first; none is the keeper.
OWNERS = """
UPDATE submissions SET team_id = (
  SELECT jobs.team_id FROM jobs
  WHERE jobs.kind = 'score' AND jobs.sha256 = submissions.sha256
    AND jobs.suite_fingerprint = submissions.suite_fingerprint
    AND jobs.status IN ('accepted', 'withdrawn')
  ORDER BY jobs.id LIMIT 1)
"""


def upgrade() -> None:
    """Add them. What stands on a board stays told; nothing was struck off or held before."""
    op.add_column("suites", sa.Column("secret", sa.String(64), nullable=True))
    op.create_index("ix_suites_secret", "suites", ["secret"])
    op.execute("ALTER TABLE submissions ADD COLUMN team_id INTEGER REFERENCES teams (id)")
    for column in (
        sa.Column("name_key", sa.String(200), nullable=False, server_default=""),
        sa.Column("pixels", sa.String(64), nullable=True),
        sa.Column("held", sa.String(20), nullable=True),
        sa.Column("flag", sa.String(300), nullable=True),
        sa.Column("struck", sa.Boolean(), nullable=False, server_default=sa.false()),
    ):
        op.add_column("submissions", column)
    for name in ("team_id", "name_key", "pixels"):
        op.create_index(f"ix_submissions_{name}", "submissions", [name])
    op.execute(OWNERS)
    _write_name_keys()
    op.add_column("teams", sa.Column("blocked", sa.DateTime(timezone=True), nullable=True))
    op.add_column("teams", sa.Column("releases", sa.Integer(), nullable=False, server_default="10"))
    op.add_column("jobs", sa.Column("started", sa.DateTime(timezone=True), nullable=True))
    op.create_table(
        "uploads",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("team_id", sa.Integer(), sa.ForeignKey("teams.id"), nullable=False),
        sa.Column("address", sa.String(60), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("expires", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_index("ix_uploads_team_id", "uploads", ["team_id"])
    op.create_table(
        "workers",
        sa.Column("holder", sa.String(60), primary_key=True),
        sa.Column("seen", sa.DateTime(timezone=True), nullable=False),
    )


def _write_name_keys() -> None:
    table = sa.table("submissions", sa.column("id"), sa.column("method"), sa.column("name_key"))
    connection = op.get_bind()
    for number, method in connection.execute(sa.select(table.c.id, table.c.method)).all():
        connection.execute(
            sa.update(table).where(table.c.id == number).values(name_key=skeleton(method))
        )
