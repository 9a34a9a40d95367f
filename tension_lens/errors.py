"""The two ways in which a command ends badly on purpose."""


class RequestError(ValueError):
    """What the user asked for cannot be done as asked; commands print it as one line and exit with 2.

    Messages say what must hold, what was found, and what to do.
    """


class FailedError(RuntimeError):
    """The work ran and did not meet what it must; commands print it as one line and exit with 1."""
