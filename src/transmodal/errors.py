"""The one exception for everything a user can cause: bad files, bad settings, bad combinations; and what was meant."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """A mistake that the user can mend, told in one line: what is wrong, where, and the remedy.

    The command line prints the message and leaves with exit status 2; no traceback is shown.
    """

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))


def spelt_like(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that is spelt most like this one, capitals aside; None when none is near."""
    known = list(known)
    for given, spellings in ((name, {each: each for each in known}), (name.lower(), {k.lower(): k for k in known})):
        if close := difflib.get_close_matches(given, spellings, n=1, cutoff=0.5):
            return spellings[close[0]]
    return None


def nearest(name: str, known: Iterable[str]) -> str:
    """Return the end of an error message: "did you mean …?", or all known names when none is near."""
    known = list(known)
    if (near := spelt_like(name, known)) is not None:
        return f"did you mean {near!r}?"
    shown = ", ".join(known[:12]) + (f" and {len(known) - 12} more" if len(known) > 12 else "")
    return f"known are {shown}"
