"""When the animal should go to the scanner: an answer from the windows of contrast and counts."""

from transmodal.fusion.answer_words import Answer, joined
from transmodal.fusion.estimates import time_text
from transmodal.fusion.kinetic_fit import KineticFit
from transmodal.fusion.misfit import NOTED, WITHHELD, misfit
from transmodal.fusion.scan_times import Window, between_text
from transmodal.reporting.figures import plain_number

SCAN = "When should the animal go to the scanner?"
_EARLY = "nothing was observed before the first frame: earlier may be as good or better"
_LATE = "the best lies where the observation ended: later may be better still"


def scan_answer(
    contrast: Window | None,
    yielded: Window | None,
    visible: Window | None,
    length: float | None,
    fits: tuple[KineticFit, KineticFit],
) -> Answer:
    """Answer from the windows; `fits` are those of target and background, on which the windows stand.

    Of fits that do not hold there are moments, but no windows, as other numbers then have no interval.
    """
    numbers = []
    worst = max((misfit(each) for each in fits if misfit(each) > NOTED), default=0.0)
    if worst > WITHHELD and any(each is not None and each.from_fit for each in (contrast, yielded)):
        return _moments(contrast, yielded, worst)
    if contrast is not None:
        best = f"best {plain_number(contrast.value)} at {time_text(contrast.best)}"
        source = "" if contrast.from_fit else "; from frames, not fitted"
        numbers.append(("target to background within 90 % of its best", f"{contrast.text()} ({best}{source})"))
    if yielded is not None and length is not None:
        most = f"most at {time_text(yielded.best)}"
        numbers.append((f"net counts of a {time_text(length)} frame within 90 %", f"begun {yielded.text()} ({most})"))
    if visible is not None:
        words = "net counts of such a frame over their noise within 90 %"
        numbers.append((words, f"begun {visible.text()} (best {visible.value:.3g} at {time_text(visible.best)})"))
    windows = [each for each in (contrast, yielded) if each is not None]
    if not windows:
        return Answer(SCAN, "Not known.", remark="frames over time are needed, and a background or a curve")
    begin, end = max(each.begin for each in windows), min(each.end for each in windows)
    early, late = any(each.open_begin for each in windows), any(each.open_end for each in windows)
    remark = joined(_EARLY if early else "", _LATE if late else "")
    if begin <= end:
        both = " for contrast and counts alike" if len(windows) == 2 else ""
        words = between_text(begin, end)
        text = f"{words[0].upper()}{words[1:]} after the injection{both}."
    else:
        text = f"For contrast {windows[0].text()}; for counts {windows[1].text()}. The two do not meet"
        text += f"; net counts stand out most from their noise {visible.text()}." if visible is not None else "."
    if worst and any(each.from_fit for each in windows):
        text += f" These times are of a curve that misses its frames (χ²/ν {worst:.3g})."
    return Answer(SCAN, text, tuple(numbers), remark)


def _moments(contrast: Window | None, yielded: Window | None, worst: float) -> Answer:
    """Answer without windows, from fits that do not hold."""
    shown = (("the best contrast", contrast), ("the most counts of a frame begun", yielded))
    numbers = [(words, time_text(each.best)) for words, each in shown if each is not None]
    text = " and ".join(f"{words} at {when}" for words, when in numbers)
    text = f"{text[0].upper()}{text[1:]} after the injection, of a curve that does not hold (χ²/ν {worst:.3g})"
    return Answer(SCAN, f"{text}: no windows.", tuple(numbers))
