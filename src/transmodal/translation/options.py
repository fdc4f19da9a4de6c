"""How a translator runs its network."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from transmodal.errors import UserError

Blend = Literal["gaussian", "mean"]
BLENDS: tuple[Blend, ...] = get_args(Blend)


@dataclass(frozen=True)
class Options:
    """How a translator runs its network.

    Attributes:
        flips: spatial axes of a sample along which mirrored inputs are translated too and averaged; None: as the
            translator's card says.
        precision: "fp32", or "bf16" for weights and activations of 16 bits: faster, off by about a per cent.
        window: volumes only: shape of overlapping windows; "whole" takes volumes in one pass; None takes the patches
            of the training where the network normalises by the statistics of what it sees, else what memory allows.
        overlap: share of a window that neighbours have in common.
        blend: how windows are joined where they overlap: "gaussian" trusts their middles more (nnU-Net); "mean" is the
            plain average over the windows that hold a voxel (Dai et al.).
        memory: bytes that a case may take beyond the network itself, also where a window is set: windows become
            smaller, slices go through in smaller batches. None takes what is free.
        largest_component, fill_holes: classes of label maps of which one connected piece is kept, and whose holes are
            filled; None: as the translator's card says.
        thresholds: (class, probability from which a pixel has it) of some classes; others: as the card says.
        say: called with how volumes are taken; None puts it into the log.
        warn: called with a line for each input that looks unlike those of the training; None does not look.

    Raises:
        UserError: a window without pixels, an axis to flip twice, an overlap out of range, or another blend.
    """

    flips: tuple[int, ...] | None = None
    precision: Literal["fp32", "bf16"] = "fp32"
    window: tuple[int, ...] | Literal["whole"] | None = None
    overlap: float = 0.5
    blend: Blend = "gaussian"
    memory: float | None = None
    largest_component: tuple[str, ...] | None = None
    fill_holes: tuple[str, ...] | None = None
    thresholds: tuple[tuple[str, float], ...] = ()
    say: Callable[[str], None] | None = field(default=None, compare=False)
    warn: Callable[[str], None] | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        if isinstance(self.window, tuple) and min(self.window, default=1) < 1:
            sides = ",".join(map(str, self.window))
            raise UserError(f"A window of {sides} holds nothing; give sides of at least 1, for example 96,96,96")
        flips = self.flips or ()
        if len(set(flips)) < len(flips):
            named = ",".join(map(str, flips))
            raise UserError(f"The axes to flip, {named}, name one twice; name each axis once")
        if not 0 <= self.overlap < 1:
            raise UserError(f"An overlap of {self.overlap:g} is no share of a window; give one from 0 to 0.9")
        if self.blend not in BLENDS:
            raise UserError(f"There is no blend {self.blend!r}; choose {' or '.join(BLENDS)}")

    def to_json(self) -> dict[str, Any]:
        """Return what changes the output, for the record; lists, as JSON gives them back."""
        window = list(self.window) if isinstance(self.window, tuple) else self.window
        own: dict[str, Any] = {"precision": self.precision, "window": window}
        own |= {"overlap": self.overlap, "blend": self.blend}
        of_the_card: dict[str, tuple[Any, ...] | None] = {
            "flips": self.flips,
            "largest_component": self.largest_component,
            "fill_holes": self.fill_holes,
        }
        own |= {"thresholds": dict(self.thresholds)} if self.thresholds else {}
        return own | {name: list(chosen) for name, chosen in of_the_card.items() if chosen is not None}
