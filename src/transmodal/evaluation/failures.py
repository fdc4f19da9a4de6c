"""Cases that were not scored, in words: fifteen that lack a partner are one line and not fifteen."""

import re
from collections.abc import Sequence

_TOLD_APART = 3  # more cases that fail alike share one line


def failures_in_words(failed: Sequence[tuple[str, str]]) -> list[str]:
    """Return a line for each case, or one for all cases whose reasons differ in the case's name alone.

    Args:
        failed: (case, why), as `Scores.failed`.
    """
    alike: dict[str, list[tuple[str, str]]] = {}
    for case, reason in failed:
        bare = re.sub(rf"(?<![^\W_]){re.escape(case)}(?![^\W_])", "*", reason)
        alike.setdefault(bare, []).append((case, reason))
    lines = []
    for each in alike.values():
        if len(each) <= _TOLD_APART:
            lines += [f"{case}: {reason}" for case, reason in each]
            continue
        names = ", ".join(case for case, _ in each[:_TOLD_APART])
        more = len(each) - _TOLD_APART
        lines.append(f"{len(each)} cases alike ({names} and {more} more); the first: {each[0][1]}")
    return lines
