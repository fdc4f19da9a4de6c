"""Colour maps of activity: a table of names, and the colours of shares of the scale.

"hot" is the usual one over grey X-rays (METHODS, section 7); the others are perceptually even (matplotlib; Crameri).
"""

from typing import Any

import matplotlib
import numpy as np
import numpy.typing as npt

from transmodal.errors import UserError

COLOURS: dict[str, str] = {
    "hot": "black, red, yellow, white",
    "inferno": "black, violet, orange, pale yellow; even to the eye",
    "magma": "black, violet, pink, pale yellow; even to the eye",
    "viridis": "violet, green, yellow; even to the eye and to the colour-blind",
    "cividis": "blue, grey, yellow; even to the eye and to the colour-blind",
    "turbo": "rainbow from blue to red; uneven, but many expect it",
    "Greys_r": "black to white, over photographs in colour",
}
"""Name in matplotlib and what it looks like."""
STEPS = 256


def lookup(name: str) -> npt.NDArray[np.float64]:
    """Return the colours of a map from the bottom to the top of the scale, (256, 3) in 0…1.

    Raises:
        UserError: the name is not in COLOURS.
    """
    if name not in COLOURS:
        raise UserError(f"no colours {name!r}; choose one of {', '.join(COLOURS)}")
    table: Any = matplotlib.colormaps[name](np.linspace(0.0, 1.0, STEPS))
    return np.asarray(table[:, :3], dtype=np.float64)


def colours_of(share: npt.NDArray[np.floating[Any]], name: str) -> npt.NDArray[np.float64]:
    """Return the colours of shares of the scale, 0…1, NaN as 0: (…, 3) in 0…1."""
    index = np.rint(np.nan_to_num(np.clip(share, 0.0, 1.0)) * (STEPS - 1)).astype(np.intp)
    return lookup(name)[index]
