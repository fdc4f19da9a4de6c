"""One training step of pix2pix: a plain float32 implementation and ours, in turn, each in a process of its own.

    OMP_NUM_THREADS=1 python benchmarks/training_step.py [--size 256 256] [--repeats 9] [--device cpu]

The plain one is written as public PyTorch code writes it: the same networks (U-Net-256, 70×70 PatchGAN), Adam as it
comes, float32, the discriminator frozen in the generator's turn. Ours is `Pix2Pix.updates` under the training loop's
own step, with the allocator set as `train` sets it (which acts on a whole process: hence one for each). Prints the
median over the repeats of the ratio of neighbouring runs, and at bf16 the relative error of the generator's output
against float32 with the same weights.
"""

import argparse
import multiprocessing
import statistics
import time
from collections.abc import Callable
from contextlib import nullcontext
from multiprocessing.connection import Connection

import torch
from torch import nn

from transmodal.methods import Ports
from transmodal.methods.pix2pix import Pix2Pix, Pix2PixSettings
from transmodal.networks.patch_discriminator import PatchDiscriminator
from transmodal.networks.unet_generator import UNetGenerator
from transmodal.translation.allocator import freed_memory_kept

LEARNING_RATE, BETAS, L1_WEIGHT = 2e-4, (0.5, 0.999), 100.0


def plain_step(size: tuple[int, int], device: torch.device) -> Callable[[], None]:
    """Return the step of a plain implementation on one random pair."""
    generator, discriminator = UNetGenerator(3, 1).to(device), PatchDiscriminator(4).to(device)
    adam_g = torch.optim.Adam(generator.parameters(), LEARNING_RATE, BETAS)
    adam_d = torch.optim.Adam(discriminator.parameters(), LEARNING_RATE, BETAS)
    adversarial, l1 = nn.BCEWithLogitsLoss(), nn.L1Loss()
    source = torch.rand(1, 3, *size, device=device) * 2 - 1
    target = torch.rand(1, 1, *size, device=device) * 2 - 1

    def step() -> None:
        fake = generator(source)
        discriminator.requires_grad_(True)
        adam_d.zero_grad()
        on_fake = discriminator(torch.cat([source, fake.detach()], 1))
        on_real = discriminator(torch.cat([source, target], 1))
        loss = 0.5 * (adversarial(on_fake, torch.zeros_like(on_fake)) + adversarial(on_real, torch.ones_like(on_real)))
        loss.backward()
        adam_d.step()
        discriminator.requires_grad_(False)
        adam_g.zero_grad()
        on_fake = discriminator(torch.cat([source, fake], 1))
        loss = adversarial(on_fake, torch.ones_like(on_fake)) + L1_WEIGHT * l1(fake, target)
        loss.backward()
        adam_g.step()
        loss.item()

    return step


def our_step(size: tuple[int, int], device: torch.device, precision: str) -> Callable[[], None]:
    """Return the step of a Trainer, as `Trainer.train_step` runs it, on one random pair."""
    method = Pix2Pix(Pix2PixSettings(), Ports({"photo": 3}, {"xray": 1}, 2, (256, 256))).to(device)
    optimisers = {
        name: torch.optim.Adam(module.parameters(), LEARNING_RATE, BETAS, fused=True)
        for name, module in method.trained_modules().items()
    }
    batch = {
        "photo": torch.rand(1, 3, *size, device=device) * 2 - 1,
        "xray": torch.rand(1, 1, *size, device=device) * 2 - 1,
    }

    def step() -> None:
        updates = method.updates(batch, 0)
        while True:
            with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
                update = next(updates, None)
            if update is None:
                return
            torch.stack([value.detach().float() for value in update.parts.values()]).tolist()
            optimiser = optimisers[update.optimiser]
            update.loss.backward()
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)

    return step


def seconds(step: Callable[[], None], device: torch.device) -> float:
    """Time one step: CPU time of the process on a CPU, whatever else runs there; wall time on a GPU."""
    if device.type == "cpu":
        started = time.process_time()
        step()
        return time.process_time() - started
    torch.cuda.synchronize()
    started = time.perf_counter()
    step()
    torch.cuda.synchronize()
    return time.perf_counter() - started


def bf16_error(size: tuple[int, int], device: torch.device) -> float:
    """Return ‖bf16 − fp32‖ / ‖fp32‖ of a generator's output, random weights, no dropout."""
    generator = UNetGenerator(3, 1).to(device).eval()
    source = torch.rand(1, 3, *size, device=device) * 2 - 1
    with torch.inference_mode():
        exact = generator(source)
        with torch.autocast(device.type, torch.bfloat16):
            rounded = generator(source).float()
    return float((rounded - exact).norm() / exact.norm())


VARIANTS = ("plain fp32", "ours fp32", "ours bf16")


def serve(variant: str, size: tuple[int, int], device: torch.device, out: Connection) -> None:
    """Run one step of a variant whenever asked, and send its seconds; None ends it."""
    torch.manual_seed(0)
    ours = variant.startswith("ours")
    step = our_step(size, device, variant.split()[1]) if ours else plain_step(size, device)
    with freed_memory_kept() if ours else nullcontext():
        step(), step()
        while out.recv() is not None:
            out.send(seconds(step, device))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", nargs=2, type=int, default=(256, 256))
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    size, device = (options.size[0], options.size[1]), torch.device(options.device)
    context = multiprocessing.get_context("spawn")
    servers = {}
    for variant in VARIANTS:
        servers[variant], theirs = context.Pipe()
        context.Process(target=serve, args=(variant, size, device, theirs), daemon=True).start()
    times: dict[str, list[float]] = {variant: [] for variant in VARIANTS}
    for _ in range(options.repeats):
        for variant, server in servers.items():
            server.send("step")
            times[variant].append(server.recv())
    for server in servers.values():
        server.send(None)
    print(f"pix2pix training step, {size[0]}×{size[1]}, batch 1, {torch.get_num_threads()} threads, {device}")
    for variant, taken in times.items():
        ratio = statistics.median(a / b for a, b in zip(times[VARIANTS[0]], taken, strict=True))
        print(f"  {variant:12s} median {statistics.median(taken):7.3f} s   {ratio:5.2f}× plain fp32")
    print(f"  relative error of the generator in bf16: {bf16_error(size, device):.2%} (random weights)")


if __name__ == "__main__":
    main()
