"""One scan, two reconstruction kernels: from the bone kernel to the soft one and back, against filters.

    python benchmarks/ct_kernels.py CT_KERNEL_PAIRS --out kernels --minutes 6

CT_KERNEL_PAIRS is a folder with `S2020_soft_UB` and `S2030_bone_YA`: 16 slices of one head phantom, 8 mm apart, each
reconstructed twice. There is one phantom and no second one: the lower ten slices train, one is left out, the upper five
are tested. **What is learnt is one scanner's two kernels on one phantom; how it does on people this cannot say.**

Rows beside the network: the input as it is; a Gaussian filter (to soft), or what a Gaussian takes away added back (to
bone), with width and strength best on the training slices; and the best filter that is equal everywhere and in all
directions, fitted to the training slices ring by ring in the frequency plane, which is as much as two linear kernels of
one scan can differ by.

Scores in HU clipped to [-1024, 1500], with that range, over all pixels and within the head (> -900 HU in the truth,
for MAE), mean over the tested slices, with a 95 % interval over them. Writes OUT/tables.md, OUT/slices.png.
"""

import argparse
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

import transmodal
from transmodal.metrics.pointwise import psnr
from transmodal.metrics.ssim import ssim

Pixels = NDArray[np.float32]
Pair = tuple[Pixels, Pixels]

LOW, HIGH = -1024.0, 1500.0
FOLDERS = {"soft": "*soft*", "bone": "*bone*"}
WAYS = (("bone", "soft"), ("soft", "bone"))
TRAINING, TESTED = slice(0, 10), slice(11, 16)
WIDTHS = np.arange(0.3, 2.01, 0.1)  # pixels
STRENGTHS = np.arange(0.25, 4.01, 0.25)
RINGS = 128
NETWORK = "U-Net (synthetic)"


def run(*words: str) -> None:
    """Run a command of transmodal."""
    subprocess.run([sys.executable, "-m", "transmodal", *words], check=True)


def number_of(path: Path) -> int:
    """Return the slice number of a file name such as I1300."""
    return int("".join(letter for letter in path.name if letter.isdigit()))


def manifest_of(source: Path, out: Path) -> tuple[Path, Path]:
    """Write the manifests of training and of tested slices."""
    files = {name: sorted(next(source.rglob(pattern)).iterdir(), key=number_of) for name, pattern in FOLDERS.items()}
    if [number_of(path) for path in files["soft"]] != [number_of(path) for path in files["bone"]]:
        raise SystemExit(f"{source}: the two kernels do not have the same slices")
    made = []
    for name, chosen, split in (("training", TRAINING, "train"), ("tested", TESTED, "test")):
        rows = [
            {
                "subject": f"phantom-{name}",
                "session": path.name,
                "modality": kernel,
                "path": path.resolve(),
                "split": split,
            }
            for kernel, paths in files.items()
            for path in paths[chosen]
        ]
        pandas.DataFrame(rows).to_csv(out / f"{name}.csv", index=False)
        made.append(out / f"{name}.csv")
    return made[0], made[1]


def pairs_of(manifest: Path, source: str, target: str) -> list[Pair]:
    """Return the slices of both kernels, in HU."""
    listed = pandas.read_csv(manifest)
    read = []
    for _, rows in listed.groupby("session", sort=False):
        files = rows.set_index("modality")["path"]
        images = (np.squeeze(np.asarray(transmodal.read(files[name]), np.float32)) for name in (source, target))
        first, second = (np.clip(pixels, LOW, HIGH) for pixels in images)
        read.append((first, second))
    return read


def error_of(made: Callable[[Pixels], Pixels], pairs: list[Pair]) -> float:
    """Return the mean squared error on slices."""
    return float(np.mean([np.mean(np.square(np.clip(made(seen), LOW, HIGH) - true)) for seen, true in pairs]))


def gaussian(pairs: list[Pair], *, sharpen: bool) -> tuple[str, Callable[[Pixels], Pixels]]:
    """Return the Gaussian, or what it takes away added back, with the least error on training slices."""

    def filtered(seen: Pixels, width: float, strength: float) -> Pixels:
        smooth = gaussian_filter(seen, width)
        return seen + np.float32(strength) * (seen - smooth) if sharpen else smooth

    tried = [(width, strength) for width in WIDTHS for strength in (STRENGTHS if sharpen else (1.0,))]
    width, strength = min(tried, key=lambda one: error_of(lambda seen: filtered(seen, *one), pairs))
    name = f"Gaussian of {width:.1f} pixels" + (f", {strength:g} of what it takes added" if sharpen else "")
    return name, lambda seen: filtered(seen, width, strength)


def linear(pairs: list[Pair]) -> Callable[[Pixels], Pixels]:
    """Return the filter of rings in the frequency plane that has the least error on training slices."""
    shape = pairs[0][0].shape
    radius = np.hypot(np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1])[None, :])
    ring = np.minimum((radius / 0.5 * RINGS).astype(int), RINGS - 1)
    across, power = np.zeros(RINGS), np.zeros(RINGS)
    for seen, true in pairs:
        first, second = np.fft.rfft2(seen), np.fft.rfft2(true)
        across += np.bincount(ring.ravel(), (second * first.conj()).real.ravel(), RINGS)
        power += np.bincount(ring.ravel(), np.square(np.abs(first)).ravel(), RINGS)
    gain = (across / power)[ring]
    return lambda seen: np.fft.irfft2(np.fft.rfft2(seen) * gain, s=shape).astype(np.float32)


def scores_of(made: Pixels, true: Pixels) -> dict[str, float]:
    """Return PSNR, SSIM and MAE, and MAE in the head."""
    pixels, head = np.clip(made, LOW, HIGH), true > -900
    away = np.abs(pixels - true)
    return {
        "PSNR (dB)": psnr(pixels, true, data_range=HIGH - LOW),
        "SSIM": ssim(pixels, true, data_range=HIGH - LOW),
        "MAE (HU)": float(away.mean()),
        "MAE in the head (HU)": float(away[head].mean()),
    }


def with_interval(values: pandas.Series) -> str:
    """Return mean and 95 % interval by bootstrap over slices."""
    numbers = values.to_numpy(float)
    low, high = np.percentile(np.random.default_rng(0).choice(numbers, (5000, numbers.size)).mean(axis=1), [2.5, 97.5])
    digits = 3 if abs(numbers.mean()) < 2 else 2
    return f"{numbers.mean():.{digits}f} ({low:.{digits}f}–{high:.{digits}f})"


def one_way(
    source: str, target: str, training: Path, tested: Path, out: Path, minutes: float
) -> dict[str, list[Pixels]]:
    """Train, and return system → the tested slices it makes; first of all the truth, under the target's name."""
    folder = out / f"{source}-to-{target}"
    if not (folder / "trained").exists():
        resume = ("--resume",) if (folder / "checkpoints" / "last.ckpt").exists() else ()
        ways = ("--set", f"inputs=[{source}]", "--set", f"targets=[{target}]", "--max-minutes", f"{minutes:g}")
        run("train", "ct-kernel", "--data", str(training), "--out", str(folder), *ways, *resume)
        (folder / "trained").touch()
    known, asked = pairs_of(training, source, target), pairs_of(tested, source, target)
    name, filtered = gaussian(known, sharpen=target == "bone")
    systems = {"input as it is": lambda seen: seen, name: filtered, "best linear filter": linear(known)}
    made = {target: [true for _, true in asked]}
    made |= {system: [apply(seen) for seen, _ in asked] for system, apply in systems.items()}
    translator = transmodal.load_translator(folder)
    listed = pandas.read_csv(tested)
    files = listed[listed["modality"] == source]["path"]
    made[NETWORK] = [np.squeeze(np.asarray(translator(transmodal.read(path)), np.float32)) for path in files]
    return made


def table(made: dict[str, list[Pixels]], target: str) -> list[str]:
    """Return a row a system."""
    systems = [name for name in made if name != target]
    rows = {
        name: pandas.DataFrame([scores_of(*pair) for pair in zip(made[name], made[target], strict=True)])
        for name in systems
    }
    heads = list(next(iter(rows.values())))
    lines = ["| | " + " | ".join(heads) + " |", "|---|" + "---:|" * len(heads)]
    return lines + [
        f"| {name} | " + " | ".join(with_interval(row[head]) for head in heads) + " |" for name, row in rows.items()
    ]


def picture(all_made: dict[tuple[str, str], dict[str, list[Pixels]]]) -> Figure:
    """Return the middle of the tested slices by every system, and errors."""
    figure = Figure(figsize=(11.5, 4.9 * len(all_made)), layout="constrained")
    columns = max(map(len, all_made.values()))
    places = figure.subplots(2 * len(all_made), columns, squeeze=False)
    for axis in places.flat:
        axis.axis("off")
    for row, ((source, target), made) in enumerate(all_made.items()):
        true = made[target][len(made[target]) // 2]
        height, width = true.shape
        part = (slice(height // 4, height * 7 // 8), slice(width // 6, width * 5 // 6))
        for column, (name, images) in enumerate(made.items()):
            image = images[len(images) // 2]
            above, below = places[2 * row, column], places[2 * row + 1, column]
            above.imshow(image[part], cmap="gray", vmin=-160, vmax=240)
            above.set_title(f"{target} (true)" if name == target else f"{source} → {target}:\n{name}", fontsize=7)
            if name != target:
                below.imshow(np.abs(image - true)[part], cmap="magma", vmin=0, vmax=200)
    figure.supxlabel("−160 to 240 HU, below the error, 0 to 200 HU", fontsize=8)
    return figure


def main() -> None:
    """Train both ways, score, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pairs", type=Path, help="the folder ct_kernel_pairs")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=6.0, help="of training, each way")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    training, tested = manifest_of(arguments.pairs, arguments.out)
    found, lines = {}, []
    for source, target in WAYS:
        found[source, target] = one_way(source, target, training, tested, arguments.out, arguments.minutes)
        lines += [f"{source} → {target}", "", *table(found[source, target], target), ""]
    (arguments.out / "tables.md").write_text("\n".join(lines), encoding="utf-8")
    print("\n".join(lines))
    picture(found).savefig(arguments.out / "slices.png", dpi=100)


if __name__ == "__main__":
    main()
