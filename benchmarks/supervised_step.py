"""A training step and an inference of the supervised U-Net: as plain PyTorch code has it and ours, in turn.

    OMP_NUM_THREADS=1 python benchmarks/supervised_step.py [--size 192 224] [--filters 32] [--levels 5] [--repeats 5]

The plain one is the same U-Net with torch's own instance norm, float32, contiguous tensors, Adam as it comes, and SSIM
by convolutions of one channel. Ours is `Supervised.updates` with fused Adam. Loss: MAE + 0.2·(1 − SSIM). Prints the
median CPU time of each of four variants (float32 or bfloat16 autocast, contiguous or channels last), the median ratio
of neighbouring runs, and the relative error of bfloat16's output against float32 with the same weights.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from transmodal.methods import Ports
from transmodal.methods.one_network import CHANNELS_LAST
from transmodal.methods.supervised import Supervised, SupervisedSettings
from transmodal.networks.unet import InstanceNorm

Run = Callable[[], None]
NORM = {2: nn.InstanceNorm2d, 3: nn.InstanceNorm3d}


def supervised(size: tuple[int, ...], filters: int, levels: int) -> Supervised:
    torch.manual_seed(0)
    network = {"filters": filters, "levels": levels}
    settings = SupervisedSettings.model_validate({"network": network, "loss": {"ssim": 0.2}})
    return Supervised(settings, Ports({"T1": 1}, {"T2": 1}, len(size), size))


def pair(size: tuple[int, ...]) -> dict[str, Tensor]:
    return {name: torch.rand(1, 1, *size) * 2 - 1 for name in ("T1", "T2")}


def plain(size: tuple[int, ...], filters: int, levels: int) -> tuple[Run, Run]:
    """Return the step and the inference of a plain implementation."""
    network = supervised(size, filters, levels).generator.to(memory_format=torch.contiguous_format)
    for parent in list(network.modules()):
        for name, layer in list(parent.named_children()):
            if isinstance(layer, InstanceNorm):
                setattr(parent, name, NORM[len(size)](len(layer.weight), affine=True))
    adam = torch.optim.Adam(network.parameters(), 2e-4)
    images, dims = pair(size), len(size)
    taps = torch.exp(-0.5 * ((torch.arange(11) - 5) / 1.5) ** 2)
    window = taps / taps.sum()
    for _ in range(dims - 1):
        window = window[..., None] * (taps / taps.sum())
    convolve = {2: functional.conv2d, 3: functional.conv3d}[dims]

    def ssim(x: Tensor, y: Tensor) -> Tensor:
        a, b, aa, bb, ab = convolve(torch.cat([x, y, x * x, y * y, x * y]), window[None, None])
        top = (2 * a * b + 4e-4) * (2 * (ab - a * b) + 3.6e-3)
        return (top / ((a * a + b * b + 4e-4) * (aa + bb - a * a - b * b + 3.6e-3))).mean()

    def step() -> None:
        output = network(images["T1"])
        adam.zero_grad()
        loss = functional.l1_loss(output, images["T2"]) + 0.2 * (1 - ssim(output + 1, images["T2"] + 1))
        loss.backward()
        adam.step()

    def infer() -> None:
        with torch.inference_mode():
            network(images["T1"])

    return step, infer


def ours(size: tuple[int, ...], filters: int, levels: int, *, bf16: bool, channels_last: bool) -> tuple[Run, Run]:
    """Return our step and inference."""
    method, images = supervised(size, filters, levels), pair(size)
    layout = CHANNELS_LAST[len(size)] if channels_last else torch.contiguous_format
    method.generator.to(memory_format=layout)  # type: ignore[call-overload]
    if not channels_last:  # the method makes its inputs channels last: undone for the comparison
        method.generator.register_forward_pre_hook(lambda _, inputs: (inputs[0].contiguous(),))
    adam = torch.optim.Adam(method.generator.parameters(), 2e-4, fused=True)

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            update = next(iter(method.updates(images, 0)))
        update.loss.backward()
        adam.step()
        adam.zero_grad(set_to_none=True)

    def infer() -> None:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            method.translate(images)

    return step, infer


def milliseconds(run: Run) -> float:
    start = time.process_time()
    run()
    return 1e3 * (time.process_time() - start)


def error_of_bf16(size: tuple[int, ...], filters: int, levels: int) -> float:
    method, images = supervised(size, filters, levels), pair(size)
    with torch.inference_mode():
        exact = method.generator(images["T1"])
        with torch.autocast("cpu", torch.bfloat16):
            rounded = method.generator(images["T1"]).float()
    return float((rounded - exact).norm() / exact.norm())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, nargs="+", default=[192, 224])
    parser.add_argument("--filters", type=int, default=32)
    parser.add_argument("--levels", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=5)
    asked = parser.parse_args()
    network = (tuple(asked.size), asked.filters, asked.levels)
    peer = plain(*network)
    print(f"U-Net of {asked.filters} filters and {asked.levels} levels, {'×'.join(map(str, asked.size))}, "
          f"{torch.get_num_threads()} thread(s), CPU ms")  # fmt: skip
    for bf16 in (False, True):
        for channels_last in (False, True):
            mine = ours(*network, bf16=bf16, channels_last=channels_last)
            line = f"{'bf16' if bf16 else 'fp32'}, {'channels last' if channels_last else 'contiguous':13s}"
            for what, theirs, own in zip(("step", "inference"), peer, mine, strict=True):
                theirs(), own()  # warm
                times = [(milliseconds(theirs), milliseconds(own)) for _ in range(asked.repeats)]
                before, after = (statistics.median(column) for column in zip(*times, strict=True))
                ratio = statistics.median(slow / fast for slow, fast in times)
                line += f"  {what} {after:6.0f} (plain {before:6.0f}, {ratio:.2f}×)"
            print(line, flush=True)
    print(f"relative error of bf16's output: {100 * error_of_bf16(*network):.2f} %")


if __name__ == "__main__":
    main()
