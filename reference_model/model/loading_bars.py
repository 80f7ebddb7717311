"""The bars that transformers and diffusers draw while they load."""

import sys


def hide_bars_off_terminals() -> None:
    """Switch them off where stderr is no terminal: in a log each step is a line of its own."""
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    if not sys.stderr.isatty():
        diffusers_logging.disable_progress_bar()
        transformers_logging.disable_progress_bar()
