"""What goes wrong through no fault of the program."""


class UserError(Exception):
    """Bad input, told in one sentence: what is wrong and what to do about it.

    The command line prints the message and leaves with exit code 2; a library caller catches it.
    """
