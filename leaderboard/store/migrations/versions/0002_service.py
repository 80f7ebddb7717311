"""What a service needs: teams, the queue, the audit log, the state of the site.

And of suites and submissions what it must know.
"""

from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add them. Nothing that is there changes."""
    op.add_column(
        "suites", sa.Column("standing", sa.String(20), nullable=False, server_default="private")
    )
    op.add_column("suites", sa.Column("path", sa.String(2000), nullable=True))
    op.add_column("suites", sa.Column("most_bytes", sa.BigInteger(), nullable=True))
    op.add_column(
        "suites", sa.Column("accepting", sa.Boolean(), nullable=False, server_default=sa.false())
    )
    op.add_column("suites", sa.Column("scoring", sa.String(64), nullable=True))
    op.add_column("submissions", sa.Column("withdrawn", sa.DateTime(timezone=True), nullable=True))
    op.add_column("submissions", sa.Column("rank_low", sa.Integer(), nullable=True))
    op.add_column("submissions", sa.Column("rank_high", sa.Integer(), nullable=True))
    op.add_column("submissions", sa.Column("last_verdict", sa.Integer(), nullable=True))
    op.add_column("verdicts", sa.Column("scoring", sa.String(64), nullable=True))
    op.add_column("verdicts", sa.Column("job_id", sa.Integer(), nullable=True))
    op.create_index("ix_verdicts_job_id", "verdicts", ["job_id"], unique=True)
    op.execute(
        "UPDATE submissions SET last_verdict = (SELECT max(id) FROM verdicts WHERE "
        "verdicts.submission_id = submissions.id)"
    )
    _teams_and_jobs()
    op.create_table(
        "audit",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("actor", sa.String(100), nullable=False),
        sa.Column("action", sa.String(40), nullable=False),
        sa.Column("subject", sa.String(100), nullable=False),
        sa.Column("detail", sa.JSON(), nullable=False),
    )
    op.create_index("ix_audit_subject", "audit", ["subject"])
    site = op.create_table(
        "site",
        sa.Column("id", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("rendered", sa.Integer(), nullable=False),
        sa.Column("ready", sa.DateTime(timezone=True), nullable=False),
    )
    op.bulk_insert(
        site, [{"id": 1, "revision": 1, "rendered": 0, "ready": datetime(2000, 1, 1, tzinfo=UTC)}]
    )


def _teams_and_jobs() -> None:
    op.create_table(
        "teams",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("name", sa.String(80), nullable=False, unique=True),
        sa.Column("token_hash", sa.String(64), nullable=False, unique=True),
        sa.Column("per_day", sa.Integer(), nullable=False),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False),
        sa.Column("revoked", sa.DateTime(timezone=True), nullable=True),
    )
    op.create_table(
        "jobs",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("ticket", sa.String(40), nullable=False, unique=True),
        sa.Column("kind", sa.String(10), nullable=False),
        sa.Column("team_id", sa.Integer(), sa.ForeignKey("teams.id"), nullable=True),
        sa.Column(
            "suite_fingerprint", sa.String(64), sa.ForeignKey("suites.fingerprint"), nullable=False
        ),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("scoring", sa.String(100), nullable=False),
        sa.Column("day", sa.String(10), nullable=False),
        sa.Column("received", sa.DateTime(timezone=True), nullable=False),
        sa.Column("finished", sa.DateTime(timezone=True), nullable=True),
        sa.Column("status", sa.String(10), nullable=False),
        sa.Column("ready", sa.DateTime(timezone=True), nullable=False),
        sa.Column("holder", sa.String(60), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("reason", sa.String(1000), nullable=True),
        sa.UniqueConstraint("kind", "suite_fingerprint", "sha256", "scoring", name="uq_jobs_once"),
    )
    op.create_index("ix_jobs_status_ready", "jobs", ["status", "ready"])
    op.create_index("ix_jobs_team_day", "jobs", ["team_id", "day"])
    op.create_index("ix_jobs_sha256", "jobs", ["sha256"])
