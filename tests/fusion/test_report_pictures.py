"""Pictures of a report: names lie in their regions and cover no other name."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as some

from transmodal.fusion.regions import Regions
from transmodal.fusion.report_pictures import free_place, regions_picture
from transmodal.images import Image, picture_affine


@settings(max_examples=30, deadline=None)
@given(some.lists(some.integers(3, 12), min_size=2, max_size=6), some.integers(0, 2**31))
def test_names_lie_within_their_regions_and_apart(letters: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    down, across = np.mgrid[:100, :200]
    taken: list[tuple[float, float, float]] = []
    for count in letters:
        row, column, radius = rng.uniform(30, 70), rng.uniform(50, 150), rng.uniform(15, 25)
        mask = np.hypot(down - row, across - column) < radius
        y, x, length = free_place(mask, (0.5, 0.5), count, 100.0, taken)
        assert mask[int(y / 0.5), int(x / 0.5)]
        for other_y, other_x, other_length in taken:
            assert abs(y - other_y) > 1.0 or abs(x - other_x) >= (length + other_length) / 2
        taken.append((y, x, length))


def test_a_place_that_is_full_still_gets_its_name() -> None:
    mask = np.zeros((20, 40), bool)
    mask[10, 10] = True
    first = free_place(mask, (1.0, 1.0), 5, 40.0, [])
    assert first[:2] == (10.5, 10.5) and free_place(mask, (1.0, 1.0), 5, 40.0, [first]) == first
    both = Regions(("tumour", "gut"), np.stack([mask, mask]), picture_affine((1.0, 1.0)))
    assert regions_picture(both, Image(np.zeros((20, 40), np.uint8), picture_affine((1.0, 1.0)))).startswith(b"\x89PNG")
