"""The one exception for everything a user can cause: bad files, bad settings, bad combinations."""


class UserError(Exception):
    """A mistake that the user can mend, told in one line: what is wrong, where, and the remedy.

    The command line prints the message and leaves with exit status 2; no traceback is shown.
    """

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))
