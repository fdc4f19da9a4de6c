"""What looks wrong is told, and what is right is not."""

import numpy as np
import pytest

from transmodal.evaluation.input_doubts import InputDoubts
from transmodal.evaluation.scoring import CaseImages
from transmodal.images import Image
from transmodal.metrics.policy import Policy


def doubts(truth: np.ndarray, made: np.ndarray, body: np.ndarray | None = None, **settings: object) -> tuple[str, ...]:
    settings = {"metrics": ("psnr",), "sets": (), "range": (0, 100)} | settings
    if body is not None:
        settings["mask"] = "body"
    policy = Policy(**settings).resolved(unit="HU", dimension=truth.ndim)
    gathered = InputDoubts()
    gathered.join(gathered.of_case(CaseImages({"ours": Image(made)}, Image(truth), body), policy))
    return gathered.in_words(policy)


def values(beyond: int, shape: tuple[int, ...] = (20, 50)) -> np.ndarray:
    pixels = np.full(shape, 50.0, np.float32)
    pixels.reshape(-1)[:beyond] = 500
    return pixels


def test_a_hundredth_of_the_values_may_lie_outside_the_range() -> None:
    assert doubts(values(10), values(0)) == ()
    (told,) = doubts(values(0), values(11))
    assert "ours in 1 of 1 cases" in told and "truth" not in told and "from 50 to 500" in told
    assert doubts(values(400), values(400), clip=True) == ()
    assert "50%" in doubts(values(600), values(400), clip=True)[0]


def test_values_outside_the_mask_are_not_looked_at() -> None:
    body = values(300) == 50
    assert doubts(values(300), values(300), body) == ()
    assert doubts(values(301), values(300), body) == () and doubts(values(400), values(300), body) != ()
    dark = np.where(values(300) == 50, 50, -500).astype(np.float32)  # air far below the range
    assert doubts(dark, dark) != () and doubts(dark, dark, mask="foreground") == ()


def test_a_large_volume_is_looked_at_evenly() -> None:
    half = np.full((100, 110, 90), 50, np.int16)
    half[:, 55:] = 900
    assert "truth in 1 of 1" in doubts(half, np.full_like(half, 50))[0]


@pytest.mark.parametrize(
    ("made", "true", "doubted"),
    [
        (np.uint8, np.uint16, True),
        (np.uint16, np.uint8, True),
        (np.uint16, np.uint32, True),
        (np.int16, np.uint8, True),
        (np.int16, np.int32, False),
        (np.int16, np.uint16, False),
        (np.uint8, np.float32, False),
    ],
)
def test_types_that_hold_other_scales_are_doubted(made: type, true: type, doubted: bool) -> None:
    pixels = np.full((20, 50), 50)
    assert bool(doubts(pixels.astype(true), pixels.astype(made))) == doubted
    assert doubts(pixels.astype(true), pixels.astype(made), metrics=("dice",), range=None) == ()


def test_values_on_their_own_percentiles_have_no_range_to_leave() -> None:
    assert doubts(values(500), values(500), scale="percentile", range=None) == ()
