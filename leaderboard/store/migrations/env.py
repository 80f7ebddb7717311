"""What Alembic runs.

The steps up to the one that is asked for, on the connection that it is given.
"""

from alembic import context

from leaderboard.store.tables import Table

context.configure(
    connection=context.config.attributes["connection"], target_metadata=Table.metadata
)
with context.begin_transaction():
    context.run_migrations()
