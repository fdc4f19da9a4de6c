"""A policy says everything that a score depends on, or no score is made."""

import pytest
from pydantic import ValidationError

from transmodal.metrics import METRICS, conventions
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


def convened(*names: str, mask: str = "none", sets: tuple[str, ...] = (), dimension: int = 3) -> Policy:
    policy = Policy(metrics=names, sets=sets, mask=mask, range=(0, 77), clip=True)
    return policy.resolved(unit="HU", dimension=dimension)


def test_every_convention_tells_its_range_clipping_mask_and_dimension() -> None:
    for convention, names in conventions().items():
        policy = convened(*names, mask="bodies")
        facts = policy.convention_facts()
        assert list(facts) == list(names)
        for name, fact in facts.items():
            assert METRICS[name].states in fact and ("mask" in fact) and ("volume" in fact), fact
            assert f"{METRICS[name].title}: {METRICS[name].states}" in policy.describe()
            assert fact.removeprefix(METRICS[name].states + ", ") in policy.describe()
            assert f"{METRICS[name].title}: {fact}." in convened(name, mask="bodies").describe()
            assert ("'bodies'" in fact) == (convention != "lodopab"), fact


def test_a_range_that_was_stated_is_not_told_of_conventions() -> None:
    sentence = convened(*conventions()["synthrad2023"]).describe()
    assert "77" not in sentence and "in three dimensions" not in sentence and "clipped to the range" not in sentence
    assert "−1024 to 3000" in sentence and "R = 4024" in sentence
    beside = convened("mae", *conventions()["synthrad2023"]).describe()
    assert "range 0 to 77, clipped to the range" in beside and "−1024 to 3000" in beside
    with_sets = convened("psnr@synthrad2023", sets=("fnsd",)).describe()
    assert "Scores of whole sets: in units of HU, range 0 to 77" in with_sets


def test_a_challenge_scored_without_its_mask_is_told_so() -> None:
    names = conventions()["synthrad2025"]
    assert "scores inside the challenge's dilated body outline" in convened(*names).describe()
    assert "instead of the challenge's" in convened(*names, mask="foreground").describe()
    assert "the challenge's" not in convened(*names, mask="bodies").describe()
    assert "the challenge's" not in convened(*conventions()["per-image-range"]).describe()


def test_conventions_of_slices_tell_that_volumes_were_cut() -> None:
    fact = convened("psnr@lodopab").convention_facts()["psnr@lodopab"]
    assert "by its slices along array axis 2" in fact and "each true slice" in fact and "left out" not in fact
    # Slices without a pixel in the mask are in no mean, whatever the metric does with masks.
    assert "those outside the mask left out" in convened("psnr@lodopab", mask="bodies").describe()
    whole = convened("psnr@synthrad2023", dimension=2).convention_facts()["psnr@synthrad2023"]
    assert "volume as one" in whole and "slices" not in whole


def test_conventions_that_share_mask_and_dimension_tell_them_once() -> None:
    sentence = convened(*conventions()["synthrad2023"], *conventions()["lodopab"]).describe()
    assert sentence.count("without a mask although") == 1 and "; all of these without a mask although" in sentence
    assert sentence.count("by its slices") == 1 and "; both without a mask, a volume by its slices" in sentence
