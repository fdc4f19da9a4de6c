"""Every metric gets what it was made for: raw or scaled values, whole volumes or slices, labels, models."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from transmodal.errors import UserError
from transmodal.evaluation.pairs import score_in_full, score_pair, score_without_truth
from transmodal.evaluation.resources import Resources, niqe_block, open_resources
from transmodal.evaluation.scoring import CaseImages, CaseToScore, score_cases
from transmodal.evaluation.slices import slice_totals, slices_table
from transmodal.images import Image, picture_affine
from transmodal.metrics.niqe import PristineModel
from transmodal.metrics.overlap import dice
from transmodal.metrics.pointwise import nmae
from transmodal.metrics.policy import Policy
from transmodal.metrics.published_conventions import (
    mae_synthrad2023,
    psnr_lodopab,
    psnr_synthrad2023,
    ssim_synthrad2023,
)
from transmodal.metrics.surface import hd95
from transmodal.metrics.vif import vif
from transmodal.reporting.figures import plain_number


def texture(shape: tuple[int, ...], seed: int = 0, low: float = 0, high: float = 255) -> np.ndarray:
    smooth = gaussian_filter(np.random.default_rng(seed).normal(size=shape), 1.5)
    return (low + (smooth - smooth.min()) / np.ptp(smooth) * (high - low)).astype(np.float32)


def picture(pixels: np.ndarray) -> Image:
    return Image(pixels, picture_affine((1, 1)))


def test_a_convention_gets_unchanged_values_and_the_whole_volume_whatever_the_policy_says() -> None:
    truth = texture((24, 26, 20), 0, -1100, 3300)
    made = truth + 40 * np.random.default_rng(1).normal(size=truth.shape).astype(np.float32)
    body = np.zeros(truth.shape, bool)
    body[4:-4, 4:-4, 4:-4] = True
    metrics = ("mae@synthrad2023", "psnr@synthrad2023", "ssim@synthrad2023")
    policy = policy_of(metrics, scale="percentile", clip=True, dimension=2, mask="body").resolved(dimension=3)
    found = score_pair(Image(made), Image(truth), policy, body)
    assert found["mae@synthrad2023"] == mae_synthrad2023(made, truth, mask=body)
    assert found["psnr@synthrad2023"] == psnr_synthrad2023(made, truth, mask=body)
    assert found["ssim@synthrad2023"] == ssim_synthrad2023(made, truth, mask=body)
    assert "PSNR@SynthRAD2023: values taken as HU, clipped to −1024 to 3000" in policy.describe()


def policy_of(metrics: tuple[str, ...], **settings: object):  # type: ignore[no-untyped-def]
    from transmodal.metrics.policy import Policy

    return Policy(metrics=metrics, **settings)


def test_a_convention_needs_no_range_and_refuses_another_dimension_in_one_line() -> None:
    policy = policy_of(("ssim@synthrad2023",)).resolved(unit="HU", dimension=2)
    with pytest.raises(UserError, match="volumes only"):
        score_pair(picture(texture((32, 32))), picture(texture((32, 32))), policy)
    truth, made = texture((40, 40, 3), 0, 0, 1), texture((40, 40, 3), 1, 0, 1)
    policy = policy_of(("psnr@lodopab",)).resolved(unit="1", dimension=3)
    each = [psnr_lodopab(made[..., index], truth[..., index]) for index in range(3)]
    assert score_pair(Image(made), Image(truth), policy)["psnr@lodopab"] == pytest.approx(np.mean(each))


def test_metrics_of_pictures_take_a_volume_by_slices_and_leave_out_those_they_refuse() -> None:
    truth = texture((64, 60, 4))
    made = gaussian_filter(truth, (1, 1, 0))
    truth[..., 3] = made[..., 3] = 0
    policy = policy_of(("mae", "vif"), range=(0, 255)).resolved(unit="x", dimension=3)
    found = score_in_full(Image(made), Image(truth), policy)
    alone = [vif(made[..., index], truth[..., index], data_range=255) for index in range(3)]
    assert found.values["mae"] == pytest.approx(np.abs(made - truth).mean(), rel=1e-5)  # the whole volume
    last = found.slices["vif"].slices == 4  # VIF of an empty slice is defined or refused; both are told by the count
    assert found.values["vif"] == pytest.approx(np.mean([*alone, 1.0] if last else alone), rel=1e-6)
    assert "by its slices along array axis 2" in policy.describe()


def test_nmae_has_the_named_denominator() -> None:
    truth, made = texture((20, 20)), texture((20, 20), 1)
    for name in ("max-min", "max", "mean-magnitude"):
        policy = policy_of(("nmae",), nmae=name).resolved(unit="x", dimension=2)
        found = score_pair(picture(made), picture(truth), policy)["nmae"]
        assert found == pytest.approx(nmae(made, truth, denominator=name))
        assert "NMAE is divided by" in policy.describe()


def labels(shift: int = 0, label: int = 2) -> np.ndarray:
    volume = np.zeros((16, 18, 12), np.uint8)
    volume[3 + shift : 9 + shift, 4:10, 2:8] = 1
    volume[11:14, 12:16, 2:8] = label
    return volume


def test_labels_are_scored_apart_with_the_spacing_of_the_array_axes() -> None:
    affine = np.diag([0.5, 1.0, 3.0, 1.0])
    policy = policy_of(("dice", "hd95"), labels=(1, 2)).resolved(unit="label", dimension=3)
    found = score_pair(Image(labels(2), affine), Image(labels(), affine), policy)
    assert list(found) == ["dice[1]", "dice[2]", "hd95[1]", "hd95[2]"]
    assert found["dice[1]"] == dice(labels(2), labels(), label=1) and found["dice[2]"] == 1
    assert found["hd95[1]"] == hd95(labels(2), labels(), label=1, spacing=(0.5, 1.0, 3.0)) == pytest.approx(1.0)
    whole = policy_of(("dice",)).resolved(unit="label", dimension=3)
    assert list(score_pair(Image(labels(2), affine), Image(labels(), affine), whole)) == ["dice"]
    with pytest.raises(UserError, match="whole label maps"):
        score_pair(Image(labels()), Image(labels()), whole.model_copy(update={"mask": "foreground"}))
    unknown = Image(labels(), has_physical_size=False)
    with pytest.raises(UserError, match="does not say its pixel size"):
        score_pair(unknown, unknown, policy)


def test_a_label_absent_in_both_is_left_out_and_counted() -> None:
    def case(number: int) -> CaseToScore:
        truth = Image(labels(label=2 if number else 1))
        return CaseToScore(f"c{number}", f"c{number}", lambda: CaseImages({"made": truth}, truth))

    scores = score_cases(map(case, range(4)), policy_of(("dice",), labels=(1, 2), sets=()))
    content = scores.to_json()
    assert content["left_out"] == {"dice[1]": 0, "dice[2]": 1}
    assert content["summary"]["dice[2]"]["mean"] == 1 and content["summary"]["dice[2]"]["n"] == 3
    assert content["cases"][0]["dice[2]"] is None


def test_niqe_looks_at_the_prediction_and_the_truths_stand_beside_it() -> None:
    sharp = [texture((96, 96), seed) + 20 * np.random.default_rng(seed).normal(size=(96, 96)) for seed in range(12)]
    model = PristineModel.fit(sharp, data_range=255, name="test textures", block=32, sharpest=0.0)
    resources = Resources(niqe_model=model)
    policy = policy_of(("niqe", "mae"), range=(0, 255), sets=())

    def load(seed: int) -> CaseImages:
        truth = picture(sharp[seed].astype(np.float32))
        return CaseImages({"made": picture(gaussian_filter(truth.pixels, 1.5))}, truth)

    cases = [CaseToScore(str(seed), str(seed), lambda seed=seed: load(seed)) for seed in range(5)]  # type: ignore[misc]
    scores = score_cases(cases, policy, resources=resources)
    assert scores.truth_summary["niqe"].mean < scores.summary["niqe"].mean  # type: ignore[operator]
    assert list(scores.truth_summary) == ["niqe"] and scores.systems == ["made"]
    assert scores.resources["niqe"]["name"] == "test textures" and scores.to_json()["resources"]["niqe"]["block"] == 32
    assert score_without_truth(load(0).truth, policy.resolved(unit="x", dimension=2), resources).keys() == {"niqe"}


@pytest.mark.parametrize(("metric", "told"), [("niqe", "--niqe-model"), ("lpips", "--lpips-weights"), ("mae", "")])
def test_a_metric_whose_file_is_not_given_is_refused_at_the_start(metric: str, told: str) -> None:
    policy = policy_of((metric,), range=(0, 1))
    if not told:
        assert open_resources(policy).describe() == {}
        return
    with pytest.raises(UserError, match=told):
        open_resources(policy)


def test_niqe_takes_the_largest_block_of_which_two_fit() -> None:
    assert [niqe_block(*shape) for shape in ((512, 512), (192, 96), (128, 128), (64, 60), (20, 20))] == [
        96,
        96,
        64,
        32,
        16,
    ]


def test_volumes_have_totals_and_means_over_the_same_slices() -> None:
    truth = texture((20, 22, 6))
    made = truth + np.array([0, 1, 2, 3, 4, 5], np.float32)  # the first slice is equal: PSNR is infinite there
    case = CaseToScore("brain", "brain", lambda: CaseImages({"made": Image(made)}, Image(truth)))
    policy = policy_of(("mae", "mse", "psnr", "ssim"), range=(0, 255), dimension=2, sets=())
    scores = score_cases([case], policy)
    row = slice_totals(scores).iloc[0]
    assert (row["mae_slices"], row["mse_slices"], row["psnr_slices"]) == (6, 6, 5)
    assert row["mae_total"] == pytest.approx(15, rel=1e-5) and row["mae_mean"] == pytest.approx(2.5, rel=1e-5)
    assert row["mse_total"] == pytest.approx(55, rel=1e-4)
    for metric in ("mae", "mse", "psnr"):
        if metric != "psnr":
            assert row[f"{metric}_total"] == pytest.approx(row[f"{metric}_mean"] * row[f"{metric}_slices"])
        assert row[f"{metric}_mean"] == scores.cases.loc[0, metric]
    assert not [column for column in slice_totals(scores) if str(column).startswith("ssim")]
    table = slices_table(scores)
    assert table is not None and table.rows[0][1].small == "2.5 × 6 slices"  # type: ignore[union-attr]
    assert "psnr_total" not in row, "decibels do not add up"
    assert table.rows[0][3].small == "mean of 5 slices"  # type: ignore[union-attr]
    assert table.rows[0][3].text == plain_number(row["psnr_mean"])  # type: ignore[union-attr]
    ratios = slice_totals(score_cases([case], policy.model_copy(update={"metrics": ("nrmse", "nmae")})))
    assert [name for name in ratios if str(name).endswith("_total")] == ["nmae_total"]
    whole = score_cases([case], policy.model_copy(update={"dimension": 3, "metrics": ("mae",)}))
    assert slices_table(whole) is None and slice_totals(whole).empty


@pytest.mark.parametrize("name", ["ssim", "ms_ssim"])
def test_similarity_does_not_depend_on_where_the_scale_has_its_zero(name: str) -> None:
    generator = np.random.default_rng(0)
    truth = generator.normal(40, 60, (176, 176)).astype(np.float32)
    made = truth + generator.normal(10, 20, truth.shape).astype(np.float32)
    scores = []
    for low in (-1024.0, 0.0):  # the same images in HU, and counted from air
        images = [Image(pixels - np.float32(-1024 - low), picture_affine((1, 1))) for pixels in (made, truth)]
        policy = Policy(metrics=(name,), range=(low, low + 4024), mask="none").resolved(unit="HU", dimension=2)
        scores.append(score_pair(images[0], images[1], policy)[name])
        assert ("counted from -1 024" in policy.describe()) == (low != 0)
    assert scores[0] == pytest.approx(scores[1], abs=1e-6)
