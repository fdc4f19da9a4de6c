"""Series with gantry tilt or a missing slice: what commands say, what `--allow-uneven` and `data straighten` do."""

import json
from pathlib import Path

import numpy as np
import pytest
from tests.data.commands import run
from tests.data.translators import T1, T2, make_translator
from tests.images.test_dicom import AXIAL, save

from transmodal.datasets.manifest import Manifest
from transmodal.images import Image, read

ROWS, COLUMNS, SLICES = 32, 20, 8
DOWN, RIGHT, BETWEEN = 2.0, 2.5, 4.0  # mm
CORNER = (-22.0, -32.0, 100.0)  # of the lowest slice, LPS mm
LEAN = -0.3  # mm further to the back for every mm of height
MISSING = 3
STEP = ("--step", "fewer-angles angles=8", "--views", "24")
ANGLE = float(np.degrees(np.arctan(abs(LEAN))))
TILT = f"gantry tilt of {ANGLE:.1f}°"
HOLE = "slices seem to be missing: 8 mm between slices 3 and 4, 4 mm elsewhere"
STRAIGHTEN = "'transmodal data straighten'"


def ball(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Hounsfield units at places in the patient, LPS mm: a smooth ball in air, whose middle no slice shows."""
    return -1000 + 1000 * np.exp(-((x - 3) ** 2 + (y + 2) ** 2 + (z - 113) ** 2) / 200)


def heights(kind: str) -> list[float]:
    """Of the slices that there are, mm above the lowest."""
    return [BETWEEN * number for number in range(SLICES) if kind == "tilted" or number != MISSING]


def corners(kind: str) -> np.ndarray:
    """Return where the first pixel of each slice lies, LPS mm."""
    lean = LEAN if kind == "tilted" else 0.0
    return np.array([[CORNER[0], CORNER[1] + lean * height, CORNER[2] + height] for height in heights(kind)])


def slices(kind: str) -> np.ndarray:
    """Return what the scanner saw, (row, column, slice) in whole HU."""
    row, column = np.mgrid[:ROWS, :COLUMNS]
    seen = [ball(x + column * RIGHT, y + row * DOWN, np.full(row.shape, z)) for x, y, z in corners(kind)]
    return np.stack(seen, 2).round().astype(np.int16)


@pytest.fixture(params=["tilted", "missing"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def series(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a series and a manifest of it, in the working folder; its files are in no order."""
    monkeypatch.chdir(tmp_path)
    pixels, number = slices(kind), 0
    for number, corner in enumerate(corners(kind)):
        save(Path("scan", f"{'hcafbdge'[number]}.dcm"), pixels[..., number], RescaleIntercept=0,
             PixelSpacing=[DOWN, RIGHT], ImagePositionPatient=list(corner), ImageOrientationPatient=AXIAL,
             InstanceNumber=number + 1, SliceThickness=BETWEEN)  # fmt: skip
    Path("manifest.csv").write_text("subject,session,modality,path\nm,,CT,scan\n")
    Path("straight.csv").write_text("subject,session,modality,path\nm,,CT,straight.nii.gz\n")
    return Path("scan")


def command(name: str, source: str, out: str) -> tuple[str, ...]:
    """Return the arguments of a command that reads a source, `scan` or `straight`."""
    image = source if source == "scan" else f"{source}.nii.gz"
    return {
        "ct project": ("ct", "project", image, "-o", f"{out}.npy", "--views", "8"),
        "ct degrade": ("ct", "degrade", image, "-o", f"{out}.nii.gz", *STEP),
        "data degrade": ("data", "degrade", "manifest.csv" if source == "scan" else "straight.csv", "-o", out, *STEP,
                         "--workers", "1"),
        "data simulate ct": ("data", "simulate", "ct", image, "-o", out, *STEP, "--workers", "1"),
    }[name]  # fmt: skip


COMMANDS = ("ct project", "ct degrade", "data degrade", "data simulate ct")


def world(image: Image) -> np.ndarray:
    """Return where each voxel of an image lies by its affine, (*shape, 3) in LPS mm."""
    index = np.stack(np.meshgrid(*(np.arange(size) for size in image.shape), indexing="ij"), -1)
    return (index @ image.affine[:3, :3].T + image.affine[:3, 3]) * [-1, -1, 1]


def mean_corner(kind: str, number: float) -> np.ndarray:
    """Return where a slice lies when all are as far apart as on average."""
    first, last = corners(kind)[[0, -1]]
    return np.asarray(first + (last - first) * number / (len(heights(kind)) - 1))


@pytest.mark.parametrize("name", COMMANDS)
def test_uneven_series_are_refused_with_what_to_do(
    name: str, kind: str, series: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, said, error = run(capsys, *command(name, "scan", "out"))
    assert (status, said) == (2, "")
    assert len(error.splitlines()) == 1
    assert {"tilted": TILT, "missing": HOLE}[kind] in error and STRAIGHTEN in error and "--allow-uneven" in error
    assert not [path for path in Path().rglob("*") if path.name.endswith((".npy", ".nii.gz"))], "nothing is left"


@pytest.mark.parametrize("kind", ["missing"])
def test_what_was_refused_is_added_with_the_flag(kind: str, series: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "data", "straighten", series, "-o", "straight.nii.gz")[0] == 0
    Path("manifest.csv").write_text("subject,session,modality,path\nm,,CT,scan\nn,,CT,straight.nii.gz\n")
    words = command("data degrade", "scan", "pairs")
    status, said, _ = run(capsys, *words, "--json")
    assert status == 2 and len(json.loads(said)["failed"]) == 1
    status, said, _ = run(capsys, *words, "--allow-uneven", "--json")
    assert status == 0 and json.loads(said)["failed"] == []
    assert {case.subject for case in Manifest.read("pairs/manifest.csv").cases()} == {"m", "n"}


def test_every_uneven_slice_is_projected_by_itself(kind: str, series: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, *command("ct project", "scan", "all"), "--allow-uneven")[0] == 0
    made = np.load("all.npy")
    assert made.shape[:2] == (len(heights(kind)), 8)
    for number in (0, 2, len(made) - 1):
        single = Path("scan", f"{'hcafbdge'[number]}.dcm")
        assert run(capsys, "ct", "project", single, "-o", f"{number}.npy", "--views", "8")[0] == 0
        np.testing.assert_allclose(made[number], np.load(f"{number}.npy"), atol=1e-5)
    kept = np.array(json.loads(Path("all.geometry.json").read_text())["image"]["affine"])
    np.testing.assert_allclose(kept, read(series, allow_uneven=True).affine, atol=1e-6)


def test_every_uneven_slice_is_degraded_by_itself(kind: str, series: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, said, _ = run(capsys, *command("ct degrade", "scan", "worse"), "--allow-uneven", "--json")
    assert status == 0 and json.loads(said)["file"] == "worse.nii.gz"
    made = read("worse.nii.gz")
    places = world(made)
    for number in range(len(heights(kind))):
        np.testing.assert_allclose(places[0, 0, number], mean_corner(kind, number), atol=1e-3)
    clean = slices(kind)
    assert made.shape == clean.shape
    for number, slice in enumerate(np.moveaxis(clean, 2, 0)):  # each looks most like its own
        off = [np.square(made.pixels[..., other] - slice).mean() for other in range(made.shape[2])]
        assert np.argmin(off) == number


@pytest.mark.parametrize("name", ["data degrade", "data simulate ct"])
def test_pairs_of_uneven_series_hold_the_slices_as_scanned(
    name: str, kind: str, series: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, said, _ = run(capsys, *command(name, "scan", "pairs"), "--allow-uneven", "--json")
    assert status == 0 and json.loads(said)["failed"] == []
    (case,) = Manifest.read("pairs/manifest.csv").cases()
    clean, worse = read(case.files["CT"]), read(case.files["degraded"])
    np.testing.assert_array_equal(clean.pixels, slices(kind))
    assert worse.same_grid(clean) and 1 < np.abs(worse.pixels - clean.pixels).mean() < 20
    np.testing.assert_allclose(world(clean)[0, 0, 2], mean_corner(kind, 2), atol=1e-3)


def test_a_straightened_series_lies_where_it_was_scanned(
    kind: str, series: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, said, error = run(capsys, "data", "straighten", series, "-o", "deep/straight.nii.gz")
    assert (status, error) == (0, "")
    tilt, furthest = (16.7, 4) if kind == "tilted" else (0.0, 8)
    assert said.startswith(f"deep/straight.nii.gz: gantry tilt {tilt}°, slices 4 to {furthest} mm apart; ")
    made = read("deep/straight.nii.gz")
    further = int(np.ceil(-LEAN * BETWEEN * (SLICES - 1) / DOWN)) if kind == "tilted" else 0  # rows, in front
    assert made.shape == (ROWS + further, COLUMNS, SLICES)
    expected = np.zeros((4, 4))  # RAS: rows go to the back, columns to the left, slices up, at right angles
    expected[1, 0], expected[0, 1], expected[2, 2], expected[3, 3] = -DOWN, -RIGHT, BETWEEN, 1
    expected[:3, 3] = -CORNER[0], -(CORNER[1] - further * DOWN), CORNER[2]
    np.testing.assert_allclose(made.affine, expected, atol=1e-4)
    truth = ball(*np.moveaxis(world(made), -1, 0))
    seen = made.pixels > -1000 + 20  # elsewhere nothing was scanned, or air
    off = np.abs(made.pixels - truth)
    # Halfway between slices 8 mm apart, the linear interpolation cuts the top off the ball.
    assert off[seen].max() < (30 if kind == "tilted" else 80) and off[seen].mean() < 5
    middle = [np.average(axis, weights=made.pixels + 1000) for axis in np.moveaxis(world(made), -1, 0)]
    assert middle == pytest.approx([3, -2, 113], abs=0.5)


def test_straightening_takes_another_distance_and_tells_machines(
    kind: str, series: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, said, _ = run(capsys, "data", "straighten", series, "-o", "s.mha", "--spacing", "2", "--json")
    told, made = json.loads(said), read("s.mha")
    assert told["file"] == "s.mha" and told["spacing_mm"] == 2 and told["shape"] == list(made.shape)
    assert told["distances_mm"] == pytest.approx([4, 8 if kind == "missing" else 4])
    assert told["tilt_degrees"] == pytest.approx(ANGLE if kind == "tilted" else 0, abs=1e-3)
    assert made.shape[2] == 2 * SLICES - 1
    np.testing.assert_allclose(
        world(made)[-1, 0, 3], [CORNER[0], CORNER[1] + (ROWS - 1) * DOWN, CORNER[2] + 6], atol=1e-3
    )
    status, _, error = run(capsys, "data", "straighten", series / "a.dcm", "-o", "t.mha")
    assert status == 2 and "is no folder; name the one that holds the slices" in error


@pytest.mark.parametrize("name", COMMANDS)
def test_what_was_straightened_is_taken(name: str, kind: str, series: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "data", "straighten", series, "-o", "straight.nii.gz")[0] == 0
    straight = read("straight.nii.gz")
    assert run(capsys, *command(name, "straight", "out"))[0] == 0
    if name == "ct project":
        assert np.load("out.npy").shape[:2] == (SLICES, 8)
        return
    path = Path("out.nii.gz")
    if name != "ct degrade":
        (case,) = Manifest.read("out/manifest.csv").cases()
        np.testing.assert_allclose(read(case.files["CT"]).pixels, straight.pixels, atol=1e-3)
        path = case.files["degraded"]
    assert read(path).same_grid(straight)


def test_translation_refuses_uneven_series_and_takes_straight_ones(
    kind: str, series: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = make_translator(Path("model"), T1, T2, spatial_dims=3)
    asked = ("translate", "-m", model, "--device", "cpu")
    for given, out in ((series, "one.nii.gz"), (Path(), "many")):
        status, _, error = run(capsys, *asked, "-i", given, "-o", out)
        assert status == 2
        refusals = [line for line in error.splitlines() if {"tilted": TILT, "missing": HOLE}[kind] in line]
        assert len(refusals) == 1 and STRAIGHTEN in refusals[0] and "Traceback" not in error
    assert run(capsys, "data", "straighten", series, "-o", "straight.nii.gz")[0] == 0
    assert run(capsys, *asked, "-i", "straight.nii.gz", "-o", "made.nii.gz")[0] == 0
    assert read("made.nii.gz").same_grid(read("straight.nii.gz"))
