"""The database of a board: SQLite beside the archives by default, PostgreSQL by address.

Its schema is brought up to date on opening.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

from sqlalchemy import URL, Connection, Engine, create_engine, event, inspect, make_url, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from lorweb_bench.errors import InputError

WAIT = 30  # seconds that one writer waits for another
CONNECT = 5  # seconds to reach PostgreSQL
FIRST, HEAD = "0001", "0004"  # of the migrations: the schema before there were any, and today's
MIGRATING = 4_012_026  # the key of PostgreSQL's advisory lock


class Unreachable(InputError):
    """The database does not answer: it is starting, gone, or full."""


class Sessions(Protocol):
    """What opens transactions: a database, or a store with one."""

    def writing(self) -> AbstractContextManager[Session]:
        """One transaction that writes."""

    def reading(self) -> AbstractContextManager[Session]:
        """One transaction that only reads."""


class Database:
    """An engine with its schema up to date.

    InputError when the address is wrong, or the database cannot be used or is newer.
    """

    def __init__(self, url: str | URL, name: str) -> None:
        self.name = name
        self.engine = _engine(url)
        self._writer = self.engine.execution_options(writes=True)
        try:
            self._migrate()
        except DBAPIError as e:
            raise Unreachable(
                f"The database of {name} cannot be used ({' '.join(str(e.orig).split())[:200]})."
            ) from None

    @property
    def sqlite(self) -> bool:
        """Whether it is an SQLite file: one writer at a time, and nothing to lock by row."""
        return self.engine.dialect.name == "sqlite"

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """One transaction that writes: committed when the block ends well, undone when it raises.

        SQLite lets one in at a time.
        """
        with Session(self._writer, expire_on_commit=False) as session, session.begin():
            yield session

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """One transaction that only reads."""
        with Session(self.engine, expire_on_commit=False) as session, session.begin():
            yield session

    @contextmanager
    def snapshot(self) -> Iterator[Session]:
        """One transaction that only reads, in which nothing changes however long it takes."""
        engine = self.engine
        if not self.sqlite:  # which reads one snapshot anyway
            engine = engine.execution_options(isolation_level="REPEATABLE READ")
        with Session(engine, expire_on_commit=False) as session, session.begin():
            yield session

    def serve_many(self) -> None:
        """Let readers of an SQLite file go on while something is written (a journal beside it,
        until the last one closes).
        """
        if self.sqlite:
            connection = self.engine.raw_connection()  # outside of any transaction
            connection.cursor().execute("PRAGMA journal_mode = WAL")
            connection.close()

    def _migrate(self) -> None:
        with self.engine.connect() as connection:
            if _revision(connection) == HEAD:
                return
        with self._writer.begin() as connection:
            if not self.sqlite:
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATING})
            upgrade(connection, self.name)


def _revision(connection: Connection) -> str | None:
    """The migration that the schema is at, or None where it knows of none."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


def upgrade(connection: Connection, name: str) -> None:
    """Bring the schema up to date within the transaction of `connection`."""
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", "leaderboard.store:migrations")
    config.attributes["connection"] = connection
    try:
        if _revision(connection) is None and inspect(connection).has_table("suites"):
            command.stamp(config, FIRST)  # a store from before there were migrations
        command.upgrade(config, "head")
    except CommandError as e:
        raise InputError(
            f"The database of {name} was made by a newer lorweb-bench ({e}); install that one."
        ) from None


def _engine(url: str | URL) -> Engine:
    try:
        address = make_url(url)
        if address.drivername in ("postgresql", "postgres"):
            address = address.set(drivername="postgresql+psycopg")
        options: dict[str, Any] = {}
        if address.get_backend_name() == "postgresql":
            options = {
                "pool_pre_ping": True,
                "pool_size": 10,
                "max_overflow": 20,
                "pool_timeout": WAIT,
            }
            options["connect_args"] = {"connect_timeout": CONNECT}
        engine = create_engine(address, **options)
    except Exception as e:  # a wrong address, or a driver that is not installed
        raise InputError(
            f"The database address cannot be used ({type(e).__name__}: {str(e)[:200]})."
        ) from None
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: Any, _: Any) -> None:
    connection.isolation_level = (
        None  # transactions begin where we say, not where the driver guesses
    )
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute(f"PRAGMA busy_timeout = {WAIT * 1000}")


def _begin_sqlite(connection: Connection) -> None:
    """A writer takes its lock at once.

    One that read first could not wait for another writer, only fail.
    """
    connection.exec_driver_sql(
        "BEGIN IMMEDIATE" if connection.get_execution_options().get("writes") else "BEGIN"
    )
