"""A volume of 240×240×155 through a 3-D U-Net: MONAI's sliding window in float32 and ours, in turn, in one process.

    python benchmarks/volume_inference.py [--repeats 3] [--overlap 0.25] [--window 96 96 96] [--filters 16]

MONAI is no dependency of ours; the peer runs from an environment beside the project's, which is left as it is:

    python -m venv WITH_MONAI && WITH_MONAI/bin/pip install --no-deps "monai==1.5.*"
    PYTHONPATH=src:$(.venv/bin/python -c "import site; print(site.getsitepackages()[0])") \\
        WITH_MONAI/bin/python benchmarks/volume_inference.py

The peer is `sliding_window_inference` with its own defaults (overlap 0.25, constant blending; its window has no
default; four at a time as its tutorials have it) around the same network with the same weights, float32. Ours are the
whole volume in one pass and the peer's windows, both by `VolumePredictor`, planning included, each in bf16 and in
float32, channels last. Ours keep freed memory between windows (glibc gives it back and clears it again); the peer is
also measured so. Prints the median over the repeats of the ratio of neighbouring runs, the share of
the time inside the network, peak memory beside what was foreseen, and the error that bf16 makes against float32.
"""

import argparse
import copy
import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from transmodal.networks.unet import UNet
from transmodal.translation.allocator import freed_memory_kept
from transmodal.translation.memory import peak_memory
from transmodal.translation.volume_predictor import VolumePredictor
from transmodal.translation.windows import window_count


@dataclass
class Network:
    """The U-Net as a prediction, with a clock around it."""

    filters: int
    norm: str
    device: torch.device
    clock: Callable[[], float] = time.perf_counter
    seconds: float = 0.0
    module: Any = field(init=False)
    halved: Any = field(init=False)

    def __post_init__(self) -> None:
        torch.manual_seed(0)
        made = UNet(1, 1, spatial_dims=3, filters=self.filters, levels=5, norm=self.norm)  # type: ignore[arg-type]
        self.module = made.eval().to(self.device)
        # Weights in bf16 and not autocast, which casts them, and all that norms give, on every pass.
        self.halved = copy.deepcopy(self.module).to(torch.bfloat16, memory_format=torch.channels_last_3d)

    def predict(self, precision: torch.dtype) -> Callable[[Tensor], dict[str, Tensor]]:
        module = self.module if precision == torch.float32 else self.halved

        def run(pieces: Tensor) -> dict[str, Tensor]:
            start = self.now()
            made = module(pieces.to(precision).contiguous(memory_format=torch.channels_last_3d)).float()
            self.seconds += self.now() - start
            return {"target": made}

        return run

    def plain(self, pieces: Tensor) -> Tensor:
        start = self.now()
        made: Tensor = self.module(pieces)
        self.seconds += self.now() - start
        return made

    def now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return self.clock()


@dataclass
class Way:
    """One way through the network, and what was measured of it."""

    name: str
    run: Callable[[], Tensor]
    seconds: list[float] = field(default_factory=list)
    inside: list[float] = field(default_factory=list)
    peak: float = 0.0
    output: Tensor | None = None


def ways_of(network: Network, volume: Tensor, arguments: argparse.Namespace) -> list[Way]:
    """Return the peer, where it is there, and ours."""
    device, window = network.device, tuple(arguments.window)
    ways = []
    try:
        from monai.inferers.utils import sliding_window_inference  # type: ignore[import-not-found]

        def peer() -> Tensor:
            made = sliding_window_inference(
                volume[None].to(device), window, 4, network.plain, overlap=arguments.overlap
            )
            return made[0].cpu()

        def peer_with_kept_memory() -> Tensor:
            with freed_memory_kept():
                return peer()

        ways.append(Way("MONAI sliding window, float32", peer))
        ways.append(Way("MONAI, freed memory kept", peer_with_kept_memory))
    except ImportError:
        print("MONAI cannot be imported here; see the head of this file. Ours alone:")
    for name, precision in (("bf16", torch.bfloat16), ("float32", torch.float32)):
        predict = network.predict(precision)

        def whole(predict: Any = predict) -> Tensor:
            predictor = VolumePredictor(device, limit=arguments.limit * 1e9, say=lambda line: print("   ", line))
            return predictor(predict, volume)["target"]

        def same(predict: Any = predict) -> Tensor:
            predictor = VolumePredictor(
                device, window=window, overlap=arguments.overlap, batch=arguments.batch, say=lambda line: None
            )
            return predictor(predict, volume)["target"]

        ways += [Way(f"whole volume, {name}", whole), Way(f"same windows, {name}", same)]
    return ways


def measure(ways: list[Way], network: Network, repeats: int) -> None:
    """Run all ways in turn, `repeats` times."""
    with torch.inference_mode():
        network.predict(torch.bfloat16)(torch.zeros(1, 1, 32, 32, 32, device=network.device))
        VolumePredictor(network.device, limit=1e12)(
            network.predict(torch.float32), torch.zeros(1, 32, 32, 32)
        )  # imports
        for _ in range(repeats):
            for way in ways:
                network.seconds = 0.0
                start = network.now()
                with peak_memory(network.device) as peak:
                    way.output = way.run()
                way.seconds.append(network.now() - start)
                way.inside.append(network.seconds / way.seconds[-1])
                way.peak = max(way.peak, peak.bytes)
                print(f"  {way.name}: {way.seconds[-1]:.2f} s, {way.inside[-1]:.1%} inside the network", flush=True)


def report(ways: list[Way]) -> None:
    """Print medians, ratios against the first way, peaks and errors against float32."""
    first = ways[0]
    exact = {way.name.split(",")[0]: way.output for way in ways if way.name.endswith("float32")}
    for way in ways:
        ratio = statistics.median(a / b for a, b in zip(first.seconds, way.seconds, strict=True))
        line = f"{way.name:32s} {statistics.median(way.seconds):7.2f} s  {ratio:5.2f}×"
        line += f"  {statistics.median(way.inside):6.1%} inside  peak {way.peak / 1e9:5.2f} GB"
        reference = exact.get(way.name.split(",")[0])
        if way.name.endswith("bf16") and reference is not None and way.output is not None:
            line += f"  relative error {float((way.output - reference).norm() / reference.norm()):.2%}"
        print(line)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, nargs=3, default=(240, 240, 155))
    parser.add_argument("--window", type=int, nargs=3, default=(96, 96, 96))
    parser.add_argument("--overlap", type=float, default=0.25)
    parser.add_argument("--batch", type=int, default=1, help="windows at a time, ours")
    parser.add_argument("--filters", type=int, default=16)
    parser.add_argument("--norm", choices=("instance", "batch", "none"), default="instance")
    parser.add_argument("--limit", type=float, default=8.0, help="GB that the whole volume may take")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--cpu-time", action="store_true", help="for machines that others use too, with one thread")
    arguments = parser.parse_args()
    size, device = tuple(arguments.size), torch.device(arguments.device)
    network = Network(
        arguments.filters, arguments.norm, device, time.process_time if arguments.cpu_time else time.perf_counter
    )
    volume = torch.rand(1, *size, generator=torch.Generator().manual_seed(0)) * 2 - 1
    count = window_count(size, arguments.window, arguments.overlap)
    work = count * math.prod(arguments.window) / math.prod(size)
    print(f"{size}: {count} windows of {tuple(arguments.window)} make {work:.2f} times the work of one pass")
    where = f"{device}, {torch.get_num_threads()} threads, torch {torch.__version__}"
    print(f"U-Net with {arguments.filters} filters, 5 levels, {arguments.norm} norm, {where}")
    ways = ways_of(network, volume, arguments)
    measure(ways, network, arguments.repeats)
    report(ways)


if __name__ == "__main__":
    main()
