"""One answer, and the words that answers share."""

from collections.abc import Sequence
from dataclasses import dataclass

from transmodal.fusion.estimates import Estimate
from transmodal.fusion.kinetic_fit import KineticFit
from transmodal.fusion.misfit import misfit_note


@dataclass(frozen=True)
class Answer:
    """One question: its answer in a sentence, and the numbers behind it."""

    question: str
    answer: str
    numbers: tuple[tuple[str, str], ...] = ()
    remark: str = ""


def plain(estimate: Estimate, words: str = "") -> str:
    """Return the value, words after it, and the interval."""
    interval = f" (95 %, counts alone: {estimate.interval()})"
    return f"{estimate.text()}{words}{interval if estimate.interval() and estimate.low != estimate.high else ''}"


def without_misfit(estimate: Estimate, own: KineticFit) -> str:
    """Return the estimate's note without that on the misfit, which stands in the answer."""
    return estimate.note.removesuffix(misfit_note(own)).rstrip("; ")


def sentence(note: str) -> str:
    """Return a note as a sentence that follows others; "" of none."""
    return f" {note[0].upper()}{note[1:]}." if note else ""


def joined(*remarks: str) -> str:
    """Return remarks in one line, without the empty ones."""
    return "; ".join(filter(None, remarks))


def listed(words: Sequence[str]) -> str:
    """Return words as a sentence lists them: "a, b and c"."""
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))
