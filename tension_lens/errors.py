"""Errors that commands print as one line."""


class RequestError(ValueError):
    """Invalid user input; exit status 2. Messages say what must hold, what was found, and what to do."""


class FailedError(RuntimeError):
    """The work ran but failed its check; exit status 1."""
