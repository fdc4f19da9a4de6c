"""A CT slice of 512×512 restored in bf16 by a translator, and by the plain network in eager float32, in turn.

    python benchmarks/ct_restoration_inference.py [--repeats 9] [--network unet] [--norm none] [--model RUN/model]

The peer is the module alone, float32, contiguous, in inference mode: a tensor in, a tensor out. Ours is the whole way
of a `Translator`: an Image in HU is prepared, goes through the network in bf16, channels last, and comes back in HU.
glibc gives freed memory back and clears it again; the translator keeps it while a network runs, and from slice to slice
where a folder is translated. The peer is measured as it comes, and with freed memory kept likewise. Printed are the
medians of the ratios of neighbouring runs, by the clock and by the time that the processors worked (which other
programs disturb less), and what bf16 costs: the difference to float32 in HU, and in dB.

Without --model, the network is trained for `--steps` steps to take noise off simulated discs (fresh weights would
correct nothing, and lose nothing), once and before any clock runs.
"""

import argparse
import copy
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

import transmodal
from transmodal.datasets.preparation import ModalityPreparation, Preparation
from transmodal.datasets.sample_grid import GridSettings
from transmodal.images import Image, picture_affine
from transmodal.images.intensity import FittedMap
from transmodal.methods import Ports, make_method
from transmodal.methods.supervised import NOT_OF_KIND, SupervisedSettings
from transmodal.training.optimisers import make_optimiser
from transmodal.translation.allocator import freed_memory_kept
from transmodal.translation.card import Card, TrainingSummary
from transmodal.translation.model_folder import save_translator
from transmodal.translation.options import Options
from transmodal.translation.translator import Translator

LOW, HIGH = -1024.0, 1500.0
KEPT = "eager float32, freed memory kept"
ALONE, IN_A_FOLDER = "translator in bf16, one call", "translator in bf16, one slice of a folder"
Slice = npt.NDArray[np.float32]


def body(size: int, seed: int) -> Slice:
    """Return discs of tissue, fat and bone in air, in HU."""
    generator = np.random.default_rng(seed)
    row, column = np.mgrid[:size, :size] / size - 0.5
    image = np.where(row**2 + (1.3 * column) ** 2 < 0.2, 40.0, -1000.0)
    for _ in range(40):
        y, x = generator.uniform(-0.3, 0.3, 2)
        disc = (row - y) ** 2 + (column - x) ** 2 < generator.uniform(0.01, 0.08) ** 2
        image = np.where(disc & (image > -500), generator.choice([-100.0, 20.0, 60.0, 100.0, 700.0]), image)
    return image.astype(np.float32)


def degraded(image: Slice, seed: int) -> Slice:
    """Return it under noise of 80 HU."""
    return image + np.random.default_rng(seed).normal(0, 80, image.shape).astype(np.float32)


def fresh_translator(network: str, filters: int, norm: str, steps: int, folder: Path) -> Path:
    """Train a network for a few steps on patches of discs and return the folder of its translator."""
    lacking = NOT_OF_KIND[network]
    settings = SupervisedSettings.model_validate(
        {"network": {"kind": network, "filters": filters} | ({"norm": norm} if "norm" not in lacking else {}),
         "residual": True}
    )  # fmt: skip
    ports = Ports({"degraded": 1}, {"CT": 1}, 2, (512, 512))
    torch.manual_seed(0)
    method = make_method("supervised", settings, ports)
    optimiser = make_optimiser(method.parameters(), method.optimiser_of("generator"))
    clean = body(512, 0)
    pair = torch.from_numpy(np.stack([degraded(clean, 1), clean])).clip(LOW, HIGH).sub(LOW).mul(2 / (HIGH - LOW)).sub(1)
    method.train()
    for step in range(steps):
        places = torch.randint(0, 448, (4, 2)).tolist()
        patches = torch.stack([pair[:, y : y + 64, x : x + 64] for y, x in places])
        for update in method.updates({"degraded": patches[:, :1], "CT": patches[:, 1:]}, step):
            update.loss.backward()
            optimiser.step()
            optimiser.zero_grad()
    window = FittedMap(kind="one-range", low=LOW, high=HIGH, origin="given", cut=(0.5, 0.1))
    modality = ModalityPreparation(channels=(), intensity=window, dtype="float32", quantity="HU", format="tiff")
    card = Card(
        transmodal=transmodal.__version__,
        name="benchmark",
        intended_use="A benchmark.",
        method="supervised",
        settings=settings.model_dump(mode="json"),
        inputs=ports.inputs,
        targets=ports.targets,
        shape=(512, 512),
        preparation=Preparation(
            spatial_dims=2, grid=GridSettings(), slices=None, modalities={"degraded": modality, "CT": modality}
        ),
        training=TrainingSummary(
            run="benchmark", recipe="none", seed=0, epochs=0, validation={}, subjects={}, cases={}
        ),
    )
    save_translator(method, card, folder)
    return folder


def timed(run: Callable[[], object]) -> tuple[float, float]:
    """Return the seconds of the clock and of the processors."""
    clock, processors = time.perf_counter(), time.process_time()
    run()
    return time.perf_counter() - clock, time.process_time() - processors


def psnr(made: Slice, truth: Slice) -> float:
    """Return the PSNR in dB over the window."""
    return float(10 * np.log10((HIGH - LOW) ** 2 / np.mean((np.clip(made, LOW, HIGH) - truth) ** 2, dtype=np.float64)))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--network", default="unet", choices=["unet", "residual-unet", "slide-unet", "fbpconvnet"])
    parser.add_argument("--filters", type=int, default=32)
    parser.add_argument("--norm", default="none", choices=["none", "batch", "instance"], help="of the two unets")
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--model", type=Path, help="a trained translator of one input")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        model = arguments.model or fresh_translator(
            arguments.network, arguments.filters, arguments.norm, arguments.steps, Path(folder) / "model"
        )
        translator = transmodal.load_translator(model)
    measure(translator, arguments.repeats)


def measure(translator: Translator, repeats: int) -> None:
    """Run all in turn and print medians, ratios and what bf16 costs."""
    (source,) = translator.card.inputs
    truth = body(512, 7)
    image = Image(degraded(truth, 8), picture_affine((0.7, 0.7)), quantity="HU")
    stack = torch.from_numpy(translator.prepare(image, None, None).stacks[source])
    network: Any = translator.method.generator
    plain = copy.deepcopy(network).to(memory_format=torch.contiguous_format)
    half = Options(precision="bf16")

    def peer() -> None:
        with torch.inference_mode():
            plain(stack)

    def ours() -> None:
        translator.translate_case(image, options=half)

    ways = {"eager float32": peer, KEPT: peer, ALONE: ours, IN_A_FOLDER: ours}
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, way in ways.items():
            with freed_memory_kept() if name in (KEPT, IN_A_FOLDER) else nullcontext():
                way()
                taken[name].append(timed(way))
    weights = sum(values.numel() for values in plain.parameters())
    print(f"{type(plain).__name__} of {weights / 1e6:.1f} million weights, 512×512, {torch.get_num_threads()} threads")
    for name, own in taken.items():
        clock, processors = (1e3 * statistics.median(each) for each in zip(*own, strict=True))
        print(f"  {name}: {clock:.0f} ms by the clock, {processors:.0f} ms of the processors")
    for own in (ALONE, IN_A_FOLDER):
        for name in list(ways)[:2]:
            pairs = list(zip(taken[name], taken[own], strict=True))
            clock, processors = (statistics.median(a[number] / b[number] for a, b in pairs) for number in (0, 1))
            print(f"  {own}, against {name}: {clock:.2f} times as fast by the clock, {processors:.2f} in work")
    exact = next(iter(translator.translate_case(image).values())).pixels
    made = next(iter(translator.translate_case(image, options=half).values())).pixels
    difference, change = np.abs(made - exact), np.abs(exact - np.clip(image.pixels, LOW, HIGH))
    decibels = [f"{psnr(pixels, truth):.3f}" for pixels in (image.pixels, exact, made)]
    print(
        f"  bf16 costs {difference.mean():.2f} HU on average, {difference.max():.1f} HU at most, of a correction of "
        f"{change.mean():.1f} HU on average; PSNR {decibels[0]} dB of the input, {decibels[1]} in float32, "
        f"{decibels[2]} in bf16"
    )


if __name__ == "__main__":
    main()
