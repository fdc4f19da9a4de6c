"""A translator's folder: plain files, checked before they are used, and an image on the input's own grid."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.data.translators import COLOURS, PHOTO, T1, T2, XRAY, make_translator

from transmodal.datasets.sample_grid import SliceSettings
from transmodal.errors import UserError
from transmodal.images import Image, picture_affine
from transmodal.images.files import sha256_of
from transmodal.networks import layers, unet
from transmodal.translation.model_folder import load_translator
from transmodal.translation.options import Options
from transmodal.translation.translator import Translator


@pytest.fixture(scope="module")
def photo_to_xray(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_translator(tmp_path_factory.mktemp("translators") / "model", PHOTO, XRAY, shrink=2)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return make_translator(tmp_path / "model", PHOTO, XRAY)


def photo(shape: tuple[int, int] = (21, 34)) -> Image:
    pixels = np.random.default_rng(0).integers(0, 256, (*shape, 3)).astype(np.uint8)
    return Image(pixels, picture_affine((0.1, 0.2)), channels=COLOURS)


def test_a_folder_holds_weights_card_and_readme_and_no_pickle(photo_to_xray: Path) -> None:
    assert sorted(file.name for file in photo_to_xray.iterdir()) == [
        "README.md",
        "model.safetensors",
        "translator.json",
    ]
    assert all(key.startswith("generator.") for key in load_file(photo_to_xray / "model.safetensors"))
    card = json.loads((photo_to_xray / "translator.json").read_text())
    assert card["weights_sha256"] == sha256_of(photo_to_xray / "model.safetensors")
    assert "not for diagnosis" in (photo_to_xray / "README.md").read_text()


def test_the_output_lies_on_the_inputs_grid_in_the_targets_type(photo_to_xray: Path) -> None:
    image = photo()
    output = load_translator(photo_to_xray)(image)
    assert output.shape == image.shape and output.pixels.dtype == np.uint16 and output.channels == ()
    np.testing.assert_array_equal(output.affine, image.affine)
    assert output.has_physical_size and output.pixels.std() > 100


def test_loading_gives_the_saved_weights(photo_to_xray: Path) -> None:
    translator = load_translator(photo_to_xray)
    stored = load_file(photo_to_xray / "model.safetensors")
    assert all(torch.equal(value, stored[key]) for key, value in translator.method.state_dict().items())
    assert not hasattr(translator.method, "discriminator")
    assert not any(weights.is_meta for weights in translator.method.parameters())


def test_running_statistics_travel_with_the_weights(tmp_path: Path) -> None:
    folder = make_translator(tmp_path / "model", PHOTO, XRAY, generator={"statistics": "running"})
    assert any(key.endswith("running_mean") for key in load_file(folder / "model.safetensors"))
    assert load_translator(folder)(photo()).shape == (21, 34)


def test_noise_is_off_unless_seeded_and_leaves_torchs_generator_alone(photo_to_xray: Path) -> None:
    translator = load_translator(photo_to_xray)
    image = photo()
    torch.manual_seed(0)
    state = torch.get_rng_state()
    still, once, twice, other = (translator(image, seed=seed).pixels for seed in (None, 1, 1, 2))
    np.testing.assert_array_equal(still, translator(image).pixels)
    np.testing.assert_array_equal(once, twice)
    assert (once != other).any() and (once != still).any()
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("axis", ["axial", "sagittal", None])
def test_a_volume_is_translated_slice_by_slice_or_whole(axis: str | None, tmp_path: Path) -> None:
    slices = SliceSettings(axis=axis) if axis else None
    folder = make_translator(tmp_path / "model", T1, T2, spatial_dims=2 if axis else 3, slices=slices, spacing=2.0)
    pixels = np.random.default_rng(0).integers(0, 1000, (9, 12, 7)).astype(np.int16)
    affine = np.array([[0, -1.5, 0.1, 3], [1.2, 0, 0, 4], [0, 0, 3.0, 5], [0, 0, 0, 1]])
    output = load_translator(folder)(Image(pixels, affine))
    assert output.shape == (9, 12, 7) and output.pixels.dtype == np.int16
    np.testing.assert_array_equal(output.affine, affine)


def test_each_slice_is_normalised_alone(tmp_path: Path) -> None:
    folder = make_translator(tmp_path / "model", T1, T2, slices=SliceSettings())
    translator = load_translator(folder)
    pixels = np.random.default_rng(0).integers(0, 1000, (16, 16, 3)).astype(np.int16)
    whole = translator(Image(pixels)).pixels
    pixels[..., 2] //= 7
    np.testing.assert_array_equal(translator(Image(pixels)).pixels[..., :2], whole[..., :2])


def test_several_inputs_are_joined_by_name_and_must_share_their_grid(tmp_path: Path) -> None:
    pd = {"PD": T1["T1"]}
    translator = load_translator(make_translator(tmp_path / "model", T1 | pd, T2, slices=SliceSettings()))
    first, second = (
        Image(np.random.default_rng(seed).integers(0, 1000, (8, 8, 2)).astype(np.int16)) for seed in (0, 1)
    )
    output = translator({"T1": first, "PD": second})
    np.testing.assert_array_equal(output.pixels, translator({"PD": second, "T1": first}).pixels)
    assert (output.pixels != translator({"T1": second, "PD": first}).pixels).any()
    with pytest.raises(UserError, match="PD is missing"):
        translator({"T1": first})
    with pytest.raises(UserError, match="give all of them"):
        translator(first)
    with pytest.raises(UserError, match="8×8×2 but"):
        translator({"T1": first, "PD": Image(np.zeros((8, 8, 3), np.int16))})


def refuse(folder: Path, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        load_translator(folder)
    assert "\n" not in str(caught.value)


def test_changed_weights_are_refused(copy: Path) -> None:
    weights = copy / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    refuse(copy, "not the ones the card describes")
    weights.unlink()
    refuse(copy, "lacks model.safetensors")


def change_card(folder: Path, **changes: object) -> None:
    card = json.loads((folder / "translator.json").read_text())
    (folder / "translator.json").write_text(json.dumps(card | changes))


def test_weights_of_another_network_are_refused_even_with_the_right_hash(copy: Path) -> None:
    weights = copy / "model.safetensors"
    stored = load_file(weights)
    for change in ({"generator.extra": torch.zeros(1)}, None):
        changed = stored | change if change else dict(list(stored.items())[1:])
        save_file(changed, weights)
        change_card(copy, weights_sha256=sha256_of(weights))
        refuse(copy, "does not fit the network|cannot be loaded")
    weights.write_bytes(b"no safetensors")
    change_card(copy, weights_sha256=sha256_of(weights))
    refuse(copy, "cannot be loaded")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format_version": 2}, "has format 2, this version reads 1; update transmodal"),
        ({"method": "magic"}, "cannot be loaded.*magic"),
        ({"settings": {"lamda": 3}}, "cannot be loaded.*lamda"),
        ({"inputs": {}}, "no translator card"),
        ({"inputs": {"photo": 1}}, "no translator card"),
        ({"surprise": 1}, "no translator card"),
    ],
)
def test_cards_that_do_not_fit_are_refused(copy: Path, changes: dict, message: str) -> None:
    change_card(copy, **changes)
    refuse(copy, message)


@pytest.mark.parametrize("name", ["../xray", "..\\xray", "x\nray"])
def test_a_modality_that_leads_out_of_the_output_folder_is_refused(copy: Path, name: str) -> None:
    card = json.loads((copy / "translator.json").read_text())
    modalities = card["preparation"]["modalities"]
    preparation = card["preparation"] | {"modalities": modalities | {name: modalities["xray"]}}
    change_card(copy, preparation=preparation, targets={name: 1})
    refuse(copy, "no translator card")


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff\xfe", b"null"])
def test_a_card_that_is_none_is_refused(copy: Path, content: bytes) -> None:
    (copy / "translator.json").write_bytes(content)
    refuse(copy, "no translator card")


def test_a_folder_without_card_and_a_device_that_is_not_there(tmp_path: Path, copy: Path) -> None:
    refuse(tmp_path / "nothing", "holds no translator")
    for device in ("warp-drive", "cpu:x", "cuda:99", "cuda" if not torch.cuda.is_available() else "mps"):
        with pytest.raises(UserError, match=r"There is no device .*; it can use cpu"):
            load_translator(copy, device=device)


def test_a_run_stands_for_its_model(copy: Path) -> None:
    assert load_translator(copy.parent).card.name == "test"


def test_saving_again_replaces_the_folder_whole(copy: Path) -> None:
    (copy / "stray.txt").write_text("old")
    before = (copy / "model.safetensors").read_bytes()
    make_translator(copy, PHOTO, XRAY, seed=1)
    assert sorted(file.name for file in copy.iterdir()) == ["README.md", "model.safetensors", "translator.json"]
    assert (copy / "model.safetensors").read_bytes() != before
    assert [file.name for file in copy.parent.iterdir()] == ["model"], "nothing temporary is left"


def test_a_place_that_cannot_be_written_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match=r"Cannot write .*file"):
        make_translator(tmp_path / "file" / "model", PHOTO, XRAY)


@pytest.mark.parametrize(
    ("norm", "patches"),
    [
        (unet.normalisation("instance", 4, 3), True),
        (layers.normalisation("instance", 4, 3), True),
        (layers.normalisation("batch", 4, 3), True),
        (layers.normalisation("batch", 4, 3, running_statistics=True), False),
        (unet.normalisation("none", 4, 3), False),
    ],
)
def test_volumes_go_in_the_patches_of_the_training_where_norms_see_the_input(
    norm: torch.nn.Module, patches: bool, tmp_path: Path
) -> None:
    model = load_translator(make_translator(tmp_path / "model", T1, T2, spatial_dims=3, generator={"norm": "none"}))
    model.method.add_module("norm", norm)
    trained = Translator(model.method, model.card.model_copy(update={"patches": True}))
    assert trained._predictor(Options()).window == ((32, 32, 32) if patches else None)
    assert trained._predictor(Options(window="whole")).window is None
    asked = trained._predictor(Options(window=(16, 16, 16)))
    assert (trained._predictor(Options()).origin, asked.origin) == ("as trained", "as asked")
    with pytest.raises(UserError, match=r"16×16 does not fit .*, which takes volumes; give three sides"):
        trained._predictor(Options(window=(16, 16)))


@pytest.mark.parametrize("window", [(32, 32, 32), (32, 32)])
def test_a_window_for_a_translator_of_slices_is_refused_with_the_reason(
    window: tuple[int, ...], tmp_path: Path
) -> None:
    slices = load_translator(make_translator(tmp_path / "model", T1, T2))
    with pytest.raises(
        UserError, match=r"Windows are for translators of volumes, and .* takes slices; leave --window out"
    ):
        slices._predictor(Options(window=window))
    assert slices._predictor(Options(window="whole")).window is None


@pytest.mark.parametrize(
    ("options", "said"),
    [({"window": (0, 8, 8)}, "holds nothing"), ({"flips": (1, 1)}, "name one twice"), ({"overlap": 1.0}, "no share")],
)
def test_options_that_cannot_be_are_refused(options: dict, said: str) -> None:
    with pytest.raises(UserError, match=said):
        Options(**options)


def test_slices_are_taken_a_few_at_a_time_within_a_stated_memory(tmp_path: Path) -> None:
    folder = make_translator(tmp_path / "model", T1, T2, slices=SliceSettings(), generator={"norm": "none"})
    model = load_translator(folder)
    pixels = np.random.default_rng(0).integers(0, 1000, (32, 32, 9)).astype(np.int16)
    said: list[str] = []
    seen: list[int] = []
    own = model.method.translate

    def watched(batch: dict, **options: object) -> dict:
        given = next(iter(batch.values()))
        if not isinstance(given, torch._subclasses.FakeTensor):
            seen.append(len(given))
        return own(batch, **options)

    model.method.translate = watched  # type: ignore[method-assign,assignment]
    plain = model.translate_case(Image(pixels))["T2"]
    assert seen == [8, 1]
    seen.clear()
    little = model.translate_case(Image(pixels), options=Options(memory=3e5, say=said.append))["T2"]
    assert 0 < max(seen) < 8 and sum(seen) == 9 and "at a time instead of 8" in said[0]
    np.testing.assert_allclose(little.pixels, plain.pixels, atol=1)
