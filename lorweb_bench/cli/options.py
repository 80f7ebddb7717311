"""Values of options that several commands take."""

from typing import Any

import click


def part(
    context: click.Context, parameter: click.Parameter, value: str | None
) -> tuple[int, int] | None:
    """Parse I/N, the I-th of N parts counted from 1; None where the option is not given."""
    if value is None:
        return None
    index, _, count = value.partition("/")
    if not (index.isdecimal() and count.isdecimal() and 1 <= int(index) <= int(count)):
        raise click.BadParameter(f"{value!r} is no part; give I/N, from 1/N to N/N.")
    return int(index), int(count)


resize_option = click.option(
    "--resize",
    is_flag=False,
    flag_value="scale",
    type=click.Choice(["scale", "crop", "pad", "stretch"]),
    help="What happens to predictions of another size than b's. Alone: those of b's aspect are "
    "scaled. crop, pad, stretch: others, too. The report says how many.",
)

format_option = click.option(
    "--format",
    "format_",
    type=click.Choice(["shards", "parquet"]),
    default="shards",
    show_default=True,
    help="parquet: write beside the shards what the hub's viewer shows and `datasets` queries.",
)


def key_values(
    context: click.Context, parameter: click.Parameter, given: tuple[str, ...]
) -> dict[str, Any]:
    """Parse KEY=VALUE options, whose values are YAML, into a mapping; dots make mappings in it."""
    from lorweb_bench.errors import InputError
    from lorweb_bench.runtime.settings import parse_options

    try:
        return parse_options(given)
    except InputError as error:
        raise InputError(str(error).replace("--set", parameter.opts[0])) from None
