"""Recipes: what is in them counts, what does not belong is named with what was meant, and all that ship load."""

from pathlib import Path

import pytest
import yaml

from transmodal.errors import UserError
from transmodal.images.intensity_settings import IntensitySettings
from transmodal.methods import METHODS
from transmodal.training.recipe import Recipe
from transmodal.training.recipe_loading import load_recipe, shipped_recipes

SHIPPED = [
    (name, scale) for name, file in shipped_recipes().items() for scale in yaml.safe_load(file.read_text())["scales"]
]


@pytest.mark.parametrize(("name", "scale"), SHIPPED)
def test_every_shipped_recipe_loads_at_every_scale_and_survives_yaml(name: str, scale: str, tmp_path: Path) -> None:
    recipe = load_recipe(name, scale=scale)
    assert recipe.name == name
    assert recipe.description and "diagnosis" in recipe.intended_use
    copy = tmp_path / "copy.yaml"
    copy.write_text(recipe.to_yaml(), encoding="utf-8")
    assert load_recipe(copy) == recipe
    assert "scales" not in recipe.to_yaml()


def test_every_shipped_recipe_has_the_three_scales() -> None:
    assert {scale for _, scale in SHIPPED} == {"smoke", "small", "paper"}
    assert len(SHIPPED) == 3 * len(shipped_recipes())


def test_every_default_is_written_out() -> None:
    written = yaml.safe_load(load_recipe("photo-to-xray").to_yaml())
    assert set(written) == set(Recipe.model_fields) - (set(METHODS) - {"pix2pix"}), "only the method's own section"
    assert written["pix2pix"]["adam"]["betas"] == [0.5, 0.999]


def test_scales_lie_over_the_recipe_and_settings_over_scales() -> None:
    assert load_recipe("photo-to-xray") == load_recipe("photo-to-xray", scale="small")
    paper = load_recipe("photo-to-xray", scale="paper")
    assert (paper.preparation.grid.shrink, paper.train.epochs, paper.train.batch_size) == (None, 200, 1)
    changed = load_recipe("photo-to-xray", scale="smoke", overrides=["train.epochs=7", "pix2pix.adversarial=wgan-gp"])
    assert changed.train.epochs == 7 and changed.pix2pix.adversarial == "wgan-gp"
    assert changed.train.batch_size == 4, "what stands beside a change stays"
    same = load_recipe("photo-to-xray", scale="smoke", overrides={"train.epochs": 7, "pix2pix.adversarial": "wgan-gp"})
    assert same == changed


def test_a_scale_changes_only_what_it_names(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(
        "{name: mine, inputs: [a], targets: [b], pix2pix: {l1_weight: 50, generator: {dropout: 0.1}}, "
        "scales: {small: {pix2pix: {generator: {filters: 3}}}}}"
    )
    settings = load_recipe(file).pix2pix
    assert (settings.l1_weight, settings.generator.dropout, settings.generator.filters) == (50, 0.1, 3)


def test_other_sequences_take_the_intensity_maps_of_the_recipe_along() -> None:
    own = load_recipe("t1-to-t2").preparation.intensity
    other = load_recipe("t1-to-t2", overrides=["inputs=[T2]", "targets=[FLAIR]"]).preparation.intensity
    assert dict(other) == {"T2": own["T2"], "FLAIR": own["T2"]}
    changed = load_recipe(
        "t1-to-t2", overrides=["targets=[FLAIR]", "preparation.intensity.FLAIR.percentiles=[1, 99]"]
    ).preparation.intensity
    assert set(changed) == {"T1", "FLAIR"}
    assert changed["FLAIR"].percentiles == (1, 99) and changed["FLAIR"].map == "image-percentiles"
    assert changed["T1"] == own["T1"]


def test_maps_that_differ_are_not_guessed_for_other_sequences(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(
        "{name: mine, inputs: [a], targets: [b], preparation: {intensity: {a: {map: z-score}, b: {map: nyul}}}}"
    )
    assert set(load_recipe(file, overrides=["targets=[c]"]).preparation.intensity) == {"a"}
    typo = load_recipe(file, overrides=["targets=[c]", "preparation.intensity.d.map=nyul"]).preparation.intensity
    assert set(typo) == {"a", "d"}, "what the user names stays, to be told that it is unknown"


@pytest.mark.parametrize(
    "settings",
    [
        {"map": "nyul", "foreground": True},
        {"map": "white-stripe", "contrast": "T1"},
        {"map": "z-score", "limits": (-2.0, 6.0)},
        {"map": "fixed", "low": 0.0, "high": 900.0},
        {"map": "training-percentiles", "percentiles": (0.5, 99.5), "anchor_zero": True},  # both fit it as well
        {"map": "auto"},
    ],
)
def test_another_map_is_chosen_without_what_belongs_to_the_recipe_s_own(settings: dict[str, object]) -> None:
    own = load_recipe("t1-to-t2").preparation.intensity
    lines = [f"preparation.intensity.T1.{key}={list(value) if isinstance(value, tuple) else value}"
             for key, value in settings.items()]  # fmt: skip
    for overrides in ({"preparation.intensity.T1": settings}, lines):
        chosen = load_recipe("t1-to-t2", overrides=overrides).preparation.intensity
        assert chosen["T1"] == IntensitySettings(**{"foreground": True, **settings})
        assert chosen["T2"] == own["T2"]


def test_what_is_set_beside_another_map_still_has_to_fit_it(tmp_path: Path) -> None:
    refuse("percentiles and anchor_zero belong", "preparation.intensity.T1={map: nyul, percentiles: [1, 99]}",
           recipe="t1-to-t2")  # fmt: skip
    refuse("needs contrast", "preparation.intensity.T1.map=white-stripe", recipe="t1-to-t2")
    refuse("nyull", "preparation.intensity.T1.map=nyull", recipe="t1-to-t2")
    file = tmp_path / "mine.yaml"
    file.write_text(
        "{name: mine, inputs: [a], targets: [b], preparation: {intensity: "
        "{a: {map: z-score, limits: [-2, 6]}, b: {map: fixed, low: 0, high: 9}}}}"
    )
    chosen = load_recipe(file, overrides=["preparation.intensity.a.map=nyul", "preparation.intensity.b.map=z-score"])
    # Limits in standard deviations are none on Nyúl's scale.
    assert chosen.preparation.intensity == {"a": IntensitySettings(map="nyul"), "b": IntensitySettings(map="z-score")}
    same = load_recipe(file, overrides=["preparation.intensity.a={map: z-score, foreground: true}"])
    assert same.preparation.intensity["a"].limits == (-2, 6)


def test_values_of_set_are_yaml() -> None:
    recipe = load_recipe(
        "photo-to-xray", scale="paper", overrides=["preparation.grid={size: [32, 64]}", "train.max_minutes=0.5"]
    )
    assert recipe.preparation.grid.size == (32, 64) and recipe.train.max_minutes == 0.5


def refuse(message: str, *overrides: str, **more: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        load_recipe(more.get("recipe", "photo-to-xray"), scale=more.get("scale"), overrides=overrides)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("trian.epochs=1", r"unknown key 'trian'; did you mean 'train'\?"),
        ("train.epoch=1", r"unknown key 'train.epoch'; did you mean 'epochs'\?"),
        ("pix2pix.generator.filtres=1", r"'pix2pix.generator.filtres'; did you mean 'filters'\?"),
        ("preparation.slices.axes=axial", r"'preparation.slices.axes'; did you mean 'axis'\?"),
        ("preparation.intensity.photo.mpa=auto", r"'preparation.intensity.photo.mpa'; did you mean 'map'\?"),
        ("train.qqqqqq=1", "unknown key 'train.qqqqqq'; known are epochs, "),
    ],
)
def test_an_unknown_key_is_named_with_the_nearest_known_one(override: str, message: str) -> None:
    refuse(message, override)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.epochs=many", r"train.epochs: Input should be a valid integer.* \(given 'many'\)"),
        ("train.epochs=-1", "train.epochs: .*greater than or equal to 0"),
        ("train.batch_size=0", "train.batch_size"),
        ("pix2pix.adversarial=hinge", r"pix2pix.adversarial: .*'wgan-gp'.*given 'hinge'"),
        ("pix2pix.generator.downsamplings=99", r"downsamplings: .*less than or equal to 10"),
        ("inputs=[]", "inputs"),
        ("inputs=[xray]", "both input and target"),
        ("preparation.grid.spacing=1", "preparation.grid: give one of shrink, spacing and size"),
        ("preparation.intensity.photo.low=3", "low and high belong to map: fixed"),
        ("inputs=T2", r"^--set inputs=T2: inputs takes a list; write it in brackets, as 'inputs=\[T2\]'$"),
        ("sampling.patch=64", r"^--set sampling.patch=64: .* as 'sampling.patch=\[64\]'$"),
        ("inputs=[a, {b: 1}]", r"^--set inputs=\[a, {b: 1}\]: inputs.1: "),
        ("train=5", r"^--set train=5: train has keys of its own; set one of them, as train.epochs="),
        ("method=magic", "method: "),
        ("train.epochs", "write it as key.sub=value"),
        ("=3", "write it as key.sub=value"),
        ("train.epochs=[1", "the value is not YAML"),
        ("name=2024-13-45", "the value is not YAML"),
    ],
)
def test_a_bad_value_is_one_clear_line(override: str, message: str) -> None:
    refuse(message, override)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "holds no recipe"),
        (b"- a\n- b\n", "holds no recipe"),
        (b"just words", "holds no recipe"),
        (b"\x00\x01\xff\xfe" * 40, "is not YAML"),
        (b"a: [1, 2", "is not YAML"),
        (b"a: 2024-13-45", "is not YAML"),
        (b"[" * 5000, "is not YAML"),
        (b"a: !!python/object/apply:os.system ['true']", "is not YAML"),
        (b"1: 2\nname: x\ninputs: [a]\ntargets: [b]", "Keys should be strings"),
        (b"name: x\ninputs: [a]", "targets: Field required"),
        (b"name: x\ninputs: [a]\ntargets: [b]\nscales: 3", "scales must map"),
        (b"name: x\ninputs: [a]\ntargets: [b]\nscales: {small: 3}", "scales must map"),
    ],
)
def test_a_file_that_is_no_recipe_is_one_clear_line(content: bytes, message: str, tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_bytes(content)
    refuse(message, recipe=str(file))


def test_a_message_begins_with_the_setting_to_blame_and_with_no_other(tmp_path: Path) -> None:
    refuse(r"^--set train.epochs=-1: train.epochs: ", "train.seed=3", "train.epochs=-1", "train.patience=2")
    refuse(r"^--set trian.seed=3: unknown key 'trian'", "train.epochs=1", "trian.seed=3")
    refuse(r"^--set inputs=\[T2\]: the recipe: T2 is both", "train.seed=3", "inputs=[T2]", recipe="t1-to-t2")
    both = ("preparation.grid.spacing=1", "preparation.grid.shrink=2")
    refuse(rf"^--set {both[0]}, --set {both[1]}: preparation.grid: give one of", *both, recipe="t1-to-t2")
    with pytest.raises(UserError, match=r"^The override train\.epochs='many': train\.epochs: "):
        load_recipe("t1-to-t2", overrides={"train.epochs": "many"})

    file = tmp_path / "mine.yaml"
    file.write_text("{name: mine, inputs: a, targets: [b], train: {seed: x}}")
    refuse(r"^\S*mine.yaml: inputs takes a list; write it in brackets, as inputs: \[a\]$", recipe=str(file))
    refuse(r"^\S*mine.yaml: train.seed: ", "inputs=[a]", "train={epochs: 3}", recipe=str(file))


def test_a_shipped_recipe_is_called_by_its_name_and_not_by_its_place() -> None:
    refuse("^The recipe t1-to-t2 has no scale 'huge'", recipe="t1-to-t2", scale="huge")
    refuse("^The recipe t1-to-t2 has no scale", recipe=str(shipped_recipes()["t1-to-t2"]), scale="huge")


def test_the_description_says_what_overrides_have_made_of_inputs_and_targets(tmp_path: Path) -> None:
    own = load_recipe("t1-to-t2")
    other = load_recipe("t1-to-t2", overrides=["inputs=[T2, PD]", "targets=[FLAIR]"])
    assert other.description == f"T2, PD into FLAIR, with the settings of t1-to-t2: {own.description}"
    assert other.intended_use == own.intended_use
    assert load_recipe("t1-to-t2", overrides={"inputs": ["T2"], "targets": ["T1"]}).description.startswith("T2 into T1")
    assert load_recipe("t1-to-t2", overrides=["targets=[FLAIR]", "description=Mine"]).description == "Mine"
    assert load_recipe("t1-to-t2", overrides=["inputs=[T1]", "train.epochs=2"]).description == own.description
    copy = tmp_path / "copy.yaml"
    copy.write_text(other.to_yaml(), encoding="utf-8")
    assert load_recipe(copy) == other, "said once, not with each loading"
    copy.write_text("{name: mine, inputs: [a], targets: [b]}")
    assert load_recipe(copy, overrides=["inputs=[c]"]).description == ""


def test_slices_are_not_for_volumes() -> None:
    refuse(r"the recipe: slices are for a two-dimensional network", "spatial_dims=3", recipe="t1-to-t2")


def test_names_that_are_not_there() -> None:
    refuse(r"no recipe 'photo-to-xrai'; did you mean photo-to-xray\?", recipe="photo-to-xrai")
    refuse("no recipe .*none.yaml; shipped recipes: any-to-any", recipe="none.yaml")
    refuse("no scale 'huge'; it has smoke, small, paper", scale="huge")


def test_a_folder_of_the_same_name_does_not_hide_a_shipped_recipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photo-to-xray").mkdir()  # a run, called after its recipe
    assert load_recipe("photo-to-xray").name == "photo-to-xray"
