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


def key_values(
    context: click.Context, parameter: click.Parameter, given: tuple[str, ...]
) -> dict[str, Any]:
    """Parse KEY=VALUE options, whose values are YAML, into a dict."""
    import yaml

    values: dict[str, Any] = {}
    for setting in given:
        key, equals, value = setting.partition("=")
        if not (key.isidentifier() and equals):
            raise click.BadParameter(f"{setting!r} is no option; give KEY=VALUE.")
        try:
            values[key] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise click.BadParameter(f"a value is no YAML ({error}); quote it.") from None
    return values
