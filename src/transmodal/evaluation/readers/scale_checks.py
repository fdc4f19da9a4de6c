"""What a study's maker should know of the scale of its images: what was clipped, and what is likely a mistake."""

from collections.abc import Mapping, Sequence

from transmodal.errors import UserError
from transmodal.evaluation.readers.answers import REAL
from transmodal.evaluation.readers.blinding import Spooled, Tally, made_bounds
from transmodal.evaluation.readers.study import Pictures

_MUCH = 0.2  # share of the pixels of a system above which clipping is rather a wrong range than stray pixels
_BYTE = 255


def clipping_fact(tallies: Mapping[str, Tally], pictures: Pictures, true: tuple[float, float] | None) -> str:
    """Say for the report how many pixels of each system were clipped, and to what.

    Args:
        tallies: system → what clipping did to it.
        pictures: how the images are to be read.
        true: the least and the greatest value of the true images; None where there is none.
    """
    counts = [
        f"{system} {tally.clipped} of {tally.pixels} pixels ({tally.share:.1%})" if tally.clipped else f"{system} none"
        for system, tally in sorted(tallies.items())
    ]
    low, high = made_bounds((pictures.low, pictures.high), true)
    within = "" if true is None else f"; made images to the true ones' {low:g} to {high:g}, so that greys tell nothing"
    return ", ".join(counts) + within


def require_contrast(shown: Sequence[Spooled], tallies: Mapping[str, Tally], pictures: Pictures) -> None:
    """Refuse a study in which every image of a system is of one grey.

    Raises:
        UserError: nothing of a system is left within the range.
    """
    for system, tally in tallies.items():
        if not tally.varies:
            own = [picture for picture in shown if picture.system == system]
            low, high = min(each.low for each in own), max(each.high for each in own)
            raise UserError(
                f"{_named(system)} show one grey each: their values are {low:g} to {high:g}, the range shown is "
                f"{pictures.low:g} to {pictures.high:g}; change --range, or bring all images on one scale"
            )


def scale_warnings(
    shown: Sequence[Spooled], tallies: Mapping[str, Tally], pictures: Pictures, true: tuple[float, float] | None
) -> list[str]:
    """Return a line where systems are clipped by more than a fifth, and one where they differ in bit depth.

    Args:
        shown: the pictures of the study, in their own values.
        tallies: system → what clipping did to it.
        pictures: how the images are to be read.
        true: the least and the greatest value of the true images; None where there is none.
    """
    lines = []
    much = [f"{each.share:.0%} of {_named(name)}" for name, each in sorted(tallies.items()) if each.share > _MUCH]
    if much:
        # True images reach no farther than their extremes, so that the bounds of made ones are theirs, too.
        low, high = made_bounds((pictures.low, pictures.high), true)
        lines.append(f"Many pixels lie outside {low:g} to {high:g} and look black or white: {', '.join(much)}; "
                     "check --range and that all images have one scale")  # fmt: skip
    depths: dict[str, set[str]] = {}
    for picture in shown:
        if picture.dtype.kind in "ui":
            depths.setdefault(f"{8 * picture.dtype.itemsize} bits", set()).add(picture.system)
    # 16-bit files may hold 8-bit values: then the scale is one.
    wide = any(each.dtype.kind in "ui" and each.dtype.itemsize > 1 and each.high > _BYTE for each in shown)
    if len(depths) > 1 and wide:
        named = "; ".join(f"{depth}: {', '.join(sorted(systems))}" for depth, systems in sorted(depths.items()))
        lines.append(f"Images differ in bit depth ({named}), so their values mean different things; "
                     "convert them to one, or give --percentiles")  # fmt: skip
    return lines


def _named(system: str) -> str:
    return "the true images" if system == REAL else f"images of {system}"
