"""Patterns of paths: `{subject}/{session}/{modality}.nii.gz`, with `*` for anything in a name and `**/` for folders."""

import re

from transmodal.datasets.layouts.subjects import compile_expression
from transmodal.errors import UserError

_PART = re.compile(r"\{(?P<name>[A-Za-z_]\w*)\}|(?P<folders>\*\*/)|(?P<any>\*)|(?P<one>\?)")


def compile_pattern(pattern: str) -> re.Pattern[str]:
    """Turn a path pattern into a regular expression for the path below the indexed folder.

    A name in braces takes as little as it can, never a "/"; the same name again must be the same text. A pattern with
    "(?P<" is taken as a regular expression already.

    Raises:
        UserError: the subject has no place in it, or it is no regular expression.
    """
    if "(?P<" in pattern:
        return compile_expression(pattern)
    expression, position, seen = "", 0, set()
    for part in _PART.finditer(pattern):
        expression += re.escape(pattern[position : part.start()])
        position = part.end()
        if name := part["name"]:
            expression += f"(?P={name})" if name in seen else f"(?P<{name}>[^/]+?)"
            seen.add(name)
        else:
            expression += "(?:[^/]+/)*" if part["folders"] else "[^/]*" if part["any"] else "[^/]"
    rest = pattern[position:]
    if "{" in rest or "}" in rest or "{" in expression.replace(r"\{", "{") or r"\}" in expression:
        raise UserError(
            f"The pattern {pattern} has an open brace; write names as {{subject}}, {{session}}, {{modality}}"
        )
    return compile_expression(expression + re.escape(rest))
