"""The one error type for what a user gave: its message is the whole story, so the command line prints it bare."""


class InputError(ValueError):
    """An argument, a file or a setting cannot be used.

    The message is one sentence or two: what it is about, what was expected, what was given, what to do.
    """
