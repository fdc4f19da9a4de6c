"""A policy says everything that a score depends on, or no score is made."""

import pytest
from pydantic import ValidationError

from transmodal.metrics.policy import Policy


def test_a_resolved_policy_is_complete_and_keeps_what_was_stated() -> None:
    policy = Policy(range=(-1024, 3000), clip=True).resolved(range=(0, 1), unit="HU", dimension=3)
    assert policy.is_complete
    assert policy.limits == (-1024, 3000)
    assert policy.data_range == 4024
    assert policy.clip is True
    assert policy.mask == "none"


def test_a_range_is_never_guessed() -> None:
    with pytest.raises(ValueError, match="range"):
        Policy().resolved(unit="HU", dimension=2)
    with pytest.raises(ValueError, match="no range"):
        _ = Policy().data_range


def test_percentile_images_are_compared_clipped_between_0_and_1() -> None:
    policy = Policy(scale="percentile").resolved(range=(5, 900), unit="intensity", dimension=3)
    assert policy.limits == (0, 1)
    assert policy.clip is True
    assert "percentiles" in policy.describe()


def test_pictures_are_scored_in_two_dimensions_whatever_is_asked_for_volumes() -> None:
    assert Policy(dimension=3).resolved(range=(0, 1), unit="x", dimension=2).dimension == 2


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"range": (1, 1)}, "low before high"),
        ({"range": (0, float("inf"))}, "finite"),
        ({"metrics": ("psnr", "psnr")}, "twice"),
        ({"metrics": ()}, "at least one"),
        ({"metrics": ("pnsr",)}, "did you mean 'psnr'"),
        ({"percentiles": (99, 1)}, "percentiles"),
        ({"scale": "percentile", "range": (0, 5)}, "leave range out"),
        ({"rnage": (0, 1)}, "rnage"),
        ({"mask": ""}, "mask"),
        ({"slices": "axial", "slice_axis": 2}, "one of slices and slice_axis"),
    ],
)
def test_settings_that_make_no_sense_are_refused_by_name(settings: dict[str, object], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        Policy(**settings)


def test_the_sentence_names_range_mask_dimension_and_aggregation() -> None:
    sentence = Policy(mask="brain", nrmse="min-max").resolved(range=(0, 65535), unit="counts", dimension=3).describe()
    for part in ("0 to 65 535", "counts", "'brain'", "three dimensions", "not clipped", "max − min", "over subjects"):
        assert part in sentence, part
