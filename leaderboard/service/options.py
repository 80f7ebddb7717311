"""Options that the commands of a board share, and the store that they name."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from leaderboard.store.store import Store

FOLDER = click.Path(path_type=Path)
STORE = click.option("--store", required=True, type=FOLDER, help="The store's folder.")
DATABASE = click.option(
    "--database",
    envvar="LORWEB_BENCH_DATABASE",
    metavar="URL",
    help=(
        "A PostgreSQL database, as postgresql://user@host/name; by default SQLite in the store. "
        "Also LORWEB_BENCH_DATABASE."
    ),
)
TITLE = click.option(
    "--title",
    default="Leaderboard of visual analogies",
    show_default=True,
    help="The title of the board.",
)
WAIT = click.option(
    "--wait",
    type=click.FloatRange(0),
    default=60.0,
    show_default=True,
    help="Seconds to wait for a database that is starting.",
)
LOG_FORMAT = click.option(
    "--log-format",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="Lines for people, or a JSON object a line.",
)
METRICS_PORT = click.option(
    "--metrics-port",
    type=click.IntRange(1, 65535),
    help="Answer Prometheus on this port, at /metrics; not for the open network.",
)


def open_store(
    store: Path, database: str | None, create: bool = False, wait: float = 0.0
) -> "Store":
    """The store of a service.

    Args:
        store: Its folder.
        database: The address of its database; None is SQLite in the folder.
        create: Make it where it is not there.
        wait: Seconds to wait for a database that does not answer, as one that is starting.

    Raises:
        InputError: It is not there, or cannot be used.
    """
    from leaderboard.store.database import Unreachable
    from leaderboard.store.store import Store

    if not wait:
        return Store(store, database, create=create)
    from tenacity import Retrying, retry_if_exception_type, stop_before_delay, wait_fixed

    patient = Retrying(
        retry=retry_if_exception_type(Unreachable),
        wait=wait_fixed(0.5),
        stop=stop_before_delay(wait),
        reraise=True,
    )
    return patient(Store, store, database, create=create)
