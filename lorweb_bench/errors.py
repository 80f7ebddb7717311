"""The one error that a user is meant to read."""


class InputError(ValueError):
    """Bad usage or bad input: one sentence that names the file, the value and the way out.

    The command line prints the sentence and exits with 2; it never shows a traceback for it.
    """
