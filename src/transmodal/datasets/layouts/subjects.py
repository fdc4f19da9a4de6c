"""From the name of a file to subject, session and factors."""

import re

from transmodal.datasets.layouts.listing import Options
from transmodal.errors import UserError

_TAKEN = {"modality", "path", "split", "fold"}
# "mouse001_pose1", "p07-visit2", "rat3-2": something, a separator, perhaps a word, a number.
_NUMBERED = re.compile(r"(?P<subject>.+?)[_\-](?P<session>[A-Za-z]*\d+)")
SESSION_WORD = re.compile(
    r"(study|ses|session|visit|pose|time|timepoint|tp|day|week|scan|exam|date)[_\-]?[0-9]+|[0-9]{8}", re.IGNORECASE
)


class SubjectNames:
    """Take subject, session and factors out of stems, by the user's pattern or the whole stem."""

    def __init__(self, options: Options) -> None:
        """Compile the pattern.

        Raises:
            UserError: it is no regular expression, lacks the group `subject`, or names a column that is not free.
        """
        self.pattern = compile_expression(options.subject_pattern) if options.subject_pattern else None
        if self.pattern and (taken := _TAKEN & set(self.pattern.groupindex)):
            raise UserError(f"The subject pattern has a group {sorted(taken)[0]!r}, which is no factor; rename it")

    def columns(self, stem: str) -> dict[str, str] | None:
        """Return subject, session and factors of a stem; None when the pattern does not match all of it."""
        if self.pattern is None:
            return {"subject": stem, "session": ""}
        if not (match := self.pattern.fullmatch(stem)):
            return None
        return {"session": "", **{name: value or "" for name, value in match.groupdict().items()}}

    def hint(self, stems: list[str]) -> str | None:
        """Return a note when whole stems are taken as subjects although several look like one subject's."""
        if self.pattern is not None:
            return None
        matches = {stem: match["subject"] for stem in stems if (match := _NUMBERED.fullmatch(stem))}
        subjects = set(matches.values())
        # One common word before every number ("img_1", "img_2") is no subject.
        if len(matches) < 0.8 * len(stems) or not 1 < len(subjects) < len(set(stems)):
            return None
        example = next(iter(matches))
        return (
            f"Every image counts as a subject of its own, but names like {example!r} look like subject and session "
            f"({len(subjects)} subjects, not {len(set(stems))}). Splits are made by subject: say "
            r"--subject-pattern '(?P<subject>.+?)[_-](?P<session>[A-Za-z]*\d+)' so that one subject stays on one side."
        )


def compile_expression(expression: str) -> re.Pattern[str]:
    """Compile a regular expression that must have the group `subject`.

    Raises:
        UserError: it cannot be compiled, or lacks the group.
    """
    try:
        compiled = re.compile(expression)
    except re.error as error:
        raise UserError(f"The pattern {expression} is no regular expression: {error}; mend it") from error
    if "subject" not in compiled.groupindex:
        raise UserError(f"The pattern {expression} does not say where the subject stands; use the name 'subject' in it")
    return compiled
