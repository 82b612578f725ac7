"""The error for bad input."""


class UserError(Exception):
    """Bad input. The message is one sentence: what is wrong, and what to do.

    The command line prints it and ends with exit code 2.
    """
