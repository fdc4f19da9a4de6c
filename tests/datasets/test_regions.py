"""Regions: fitted where they are applied, found once."""

from pathlib import Path

import numpy as np
import pytest

from transmodal.datasets import preparation_fitting, regions
from transmodal.datasets.manifest import CaseFiles
from transmodal.datasets.preparation import ModalityPreparation, Preparation, PreparationSettings
from transmodal.datasets.preparation_fitting import fit_preparation
from transmodal.errors import UserError
from transmodal.images import Image, write
from transmodal.images.intensity import FittedMap

SHAPE = (20, 20, 20)
BODY, CORE = np.zeros(SHAPE, bool), np.zeros(SHAPE, bool)
BODY[3:17, 3:17, 3:17] = True
CORE[6:14, 6:14, 6:14] = True


def body_case(folder: Path, name: str, seed: int, **more: np.ndarray) -> CaseFiles:
    """An input that shows the body in noisy air, and a target whose own threshold finds its bright core only."""
    generator = np.random.default_rng(seed)
    noise = generator.uniform(0, 5, SHAPE)
    given = np.where(BODY, 500 + 20 * noise, noise)
    target = np.where(CORE, 1000 + 10 * noise, np.where(BODY, 60 + noise, 2 * noise))
    images = {"T1": given, "T2": target, **more}
    files = {
        modality: write(Image(pixels.astype(np.float32)), folder / f"{name}_{modality}.nii")
        for modality, pixels in images.items()
    }
    return CaseFiles(name, "", files)


def fitted(cases: list[CaseFiles], inputs: tuple[str, ...] = ("T1",), **region: object) -> Preparation:
    settings = {"region": {"how": "otsu", **region}, "intensity": {"T2": {"map": "z-score"}}}
    return fit_preparation(PreparationSettings.model_validate(settings), cases, ("T1", "T2"), 3, inputs=inputs)


def test_maps_are_fitted_in_the_region_in_which_they_are_applied(tmp_path: Path) -> None:
    case = body_case(tmp_path, "a", 0)
    made = fitted([case]).modalities["T2"].intensity
    image = regions.read(case.files["T2"])
    own = made.for_image(image.pixels, BODY)
    assert (made.low, made.high) == pytest.approx((own.low, own.high))
    elsewhere = made.for_image(image.pixels, CORE)
    assert abs(made.low - elsewhere.low) > 100, "the target's own threshold finds another region"


def test_a_mask_wins_and_an_input_on_another_grid_is_refused(tmp_path: Path) -> None:
    case = body_case(tmp_path, "a", 0, brain=CORE)
    made = fitted([case], modality="brain").modalities["T2"].intensity
    own = made.for_image(regions.read(case.files["T2"]).pixels, CORE)
    assert (made.low, made.high) == pytest.approx((own.low, own.high))
    odd = body_case(tmp_path, "b", 0, T1=np.pad(BODY * (100.0 + np.arange(20)), 1))
    with pytest.raises(UserError, match=r"22×22×22 but .*T2\.nii is 20×20×20"):
        fitted([odd])


def test_each_file_is_read_once_for_its_map_and_an_input_once_more_for_the_regions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cases = [body_case(tmp_path, name, seed) for seed, name in enumerate("ab")]
    seen: list[str] = []
    original = regions.read
    for module in (regions, preparation_fitting):
        monkeypatch.setattr(module, "read", lambda path: seen.append(path.name) or original(path))
    fitted(cases, ("T1", "T2"), apply=False)
    assert sorted(set(seen)) == ["a_T1.nii", "a_T2.nii", "b_T1.nii", "b_T2.nii"]
    assert max(seen.count(name) for name in seen) <= 2


@pytest.mark.parametrize(
    ("air", "intensity", "expected"),
    [
        (-1000, {}, None),
        (-1000, {"map": "fixed", "low": -200, "high": 300}, -200),
        (-1024, {"map": "fixed", "low": -2000, "high": 3000}, -1024),
        (0, {"map": "z-score"}, 0),  # its lower end lies below 0
        (7, {"map": "fixed", "low": 0, "high": 3000}, 0),
    ],
)
@pytest.mark.parametrize("how", ["otsu", "nonzero"])
def test_outside_the_region_an_output_is_what_the_training_images_hold_there(
    how: str, air: float, intensity: dict[str, object], expected: float | None, tmp_path: Path
) -> None:
    generator = np.random.default_rng(0)
    given = np.where(BODY, generator.uniform(400, 600, SHAPE), 0)
    target = np.where(BODY, generator.uniform(-50, 90, SHAPE), air)
    case = body_case(tmp_path, "a", 0, T1=given, T2=target)
    settings = {"region": {"how": how}, "intensity": {"T2": intensity}}
    made = fit_preparation(PreparationSettings.model_validate(settings), [case], ("T1", "T2"), 3, inputs=("T1",))
    image = regions.read(case.files["T2"])
    if expected is None:
        expected = made.modalities["T2"].intensity.low
        assert expected < -49
    back = made.restore(np.zeros((1, 1, *SHAPE), np.float32), "T2", image, BODY)
    assert (back.pixels[~BODY] == expected).all() and (back.pixels[BODY] != expected).all()


@pytest.mark.parametrize("stretch", [True, False])
def test_a_pale_output_gets_the_percentiles_of_true_images(stretch: bool, tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    drawn = {name: np.where(BODY, generator.uniform(100, 1000, SHAPE), 0) for name in ("T1", "T2")}
    case = body_case(tmp_path, "a", 0, **drawn)
    own = {"map": "image-percentiles", "percentiles": [2, 98], "foreground": True, "anchor_zero": True}
    own["stretch_tails"] = stretch
    settings = PreparationSettings.model_validate({"region": {"how": "nonzero"}, "intensity": {"T1": own, "T2": own}})
    made = fit_preparation(settings, [case], ("T1", "T2"), 3, inputs=("T1",))
    image = regions.read(case.files["T2"])
    pale = np.where(BODY, image.pixels, 0) / image.pixels.max() * 0.8 - 0.5  # −0.42 to 0.3 in the body, of −1 to 1
    back = made.restore(pale[None, None].astype(np.float32), "T2", image, BODY).pixels
    of_truth, of_output = (np.percentile(pixels[BODY], [2, 50, 98]) for pixels in (image.pixels, back))
    middle = np.interp(np.median(pale[BODY]), [-1, 1], [0, made.modalities["T2"].intensity.high])
    assert of_output[1] == pytest.approx(middle, rel=0.02), "what is not at an end stays"
    assert (of_output[[0, 2]] == pytest.approx(of_truth[[0, 2]], rel=0.03)) == stretch
    assert (back[~BODY] == 0).all() and (back[BODY] > 0).all()


def test_a_translator_from_before_takes_the_lower_end_of_a_range_in_a_unit() -> None:
    def outside(**given: object) -> float:
        fitted_map = FittedMap.model_validate({"low": -100, "high": 900, "origin": "a test", **given})
        return ModalityPreparation(
            channels=(), intensity=fitted_map, dtype="float32", quantity="HU", format="nifti"
        ).outside

    assert outside(kind="one-range") == -100
    assert outside(kind="one-range", low=0) == outside(kind="one-range", low=20) == 0
    assert outside(kind="image-percentiles") == 0
