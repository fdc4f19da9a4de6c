"""How much memory a network takes for a volume, how much there is, and how much was taken.

What one pass needs is counted, not guessed: on the CPU the network runs on tensors without values (torch's FakeTensor,
a fraction of a second for any size) while a dispatch mode adds up the tensors alive; on a GPU a small window really
runs and torch's own counters tell.
"""

import math
import re
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from transmodal.translation.allocator import give_back_freed
from transmodal.translation.windows import Predict

SHARE_OF_FREE = {"cpu": 0.7, "cuda": 0.9}  # a CPU's memory serves other programs too
MARGIN = 1.1  # scratch memory beyond that of convolutions, which no count of tensors sees
KEPT_BY_ALLOCATOR = 64e6  # glibc keeps freed blocks of up to 32 MB, and some lie between others
BLOCK = 16  # channels to which oneDNN's convolutions fill up
PROBE = 64  # side of the window that really runs on a GPU
GIGABYTE = 1e9


@dataclass(frozen=True)
class Need:
    """What a network takes.

    Attributes:
        bytes_per_voxel: at the peak of one pass, per voxel of what passes, input and outputs counted.
        kept_per_voxel: of the volume and its sums in float32, per voxel of the volume, beside the windows.
    """

    bytes_per_voxel: float
    kept_per_voxel: float


def estimate(
    predict: Predict,
    channels: int,
    spatial: Sequence[int],
    device: torch.device | str = "cpu",
    *,
    margin: float = MARGIN,
) -> Need:
    """Return the memory that one pass takes.

    Args:
        predict: (N, C, *spatial) → target → (N, C', *spatial).
        channels: C.
        spatial: on a CPU, what shall pass, of any size; on a GPU, what really passes for the measurement.
        device: where the network lies.
        margin: factor for what no count of tensors sees on the CPU; a GPU's counters see all.

    Raises:
        MemoryError, RuntimeError: not even the measurement fits.
    """
    from torch._subclasses.fake_tensor import FakeTensorMode  # a second or two, which few need

    device = torch.device(device)
    voxels = math.prod(spatial)
    # Noise of dropout is drawn here too: the passes that follow are not to see it.
    with torch.inference_mode(), torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        if device.type == "cuda":
            torch.cuda.synchronize(device)
            before = torch.cuda.memory_allocated(device)
            torch.cuda.reset_peak_memory_stats(device)
            outputs: Mapping[str, Tensor] = predict(torch.zeros(1, channels, *spatial, device=device))
            torch.cuda.synchronize(device)
            peak: float = torch.cuda.max_memory_allocated(device) - before
        else:
            try:
                with FakeTensorMode(allow_non_fake_inputs=True), _LiveTensors() as live:
                    outputs = predict(torch.zeros(1, channels, *spatial, device=device))
            except Exception:  # a network that looks at values cannot run without them: a small window really runs
                small = tuple(min(PROBE, size) for size in spatial)
                voxels = math.prod(small)
                with _LiveTensors() as live:
                    outputs = predict(torch.zeros(1, channels, *small, device=device))
            peak = live.peak * margin
    outcoming = [output.shape[1] for output in outputs.values()]
    # The volume, the sums, and one weighted window before it is added, which may be as large.
    return Need(peak / voxels, 4.0 * (channels + sum(outcoming) + max(outcoming)))


class _LiveTensors(TorchDispatchMode):
    """Adds up the storage of all tensors made inside and still alive, and what convolutions copy meanwhile.

    Attributes:
        peak: bytes, at the worst moment.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._storages: dict[int, weakref.ref[Any]] = {}

    def __torch_dispatch__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        outputs = function(*args, **(kwargs or {}))
        known = {leaf.untyped_storage()._cdata for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)}
        for leaf in tree_leaves(outputs):
            if isinstance(leaf, Tensor) and leaf.untyped_storage()._cdata not in known:
                self._add(leaf.untyped_storage())
        if "conv" in str(function) and isinstance(outputs, Tensor):
            self.peak = max(self.peak, self.now + _copied_by_convolution(args[0], outputs))
        return outputs

    def _add(self, storage: Any) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self._storages:
            return

        def gone(_: object) -> None:
            del self._storages[key]
            self.now -= size

        self._storages[key] = weakref.ref(storage, gone)
        self.now += size
        self.peak = max(self.peak, self.now)


def _copied_by_convolution(source: Tensor, output: Tensor) -> int:
    """Return the bytes that a convolution on the CPU takes for copies in its own layout, beyond source and output.

    Channels-last tensors need none, but with a single channel torch cannot tell the two layouts apart.
    """
    layout = {4: torch.channels_last, 5: torch.channels_last_3d}.get(source.ndim)
    single = source.shape[1] == 1 or output.shape[1] == 1
    if source.device.type == "cuda" or (layout and not single and source.is_contiguous(memory_format=layout)):
        return 0

    def filled(tensor: Tensor) -> int:
        channels = -(-tensor.shape[1] // BLOCK) * BLOCK
        return tensor.numel() // tensor.shape[1] * channels * output.element_size()

    # First the source is copied, then, once that is freed, the output is brought back into torch's layout.
    own = output.numel() * output.element_size()
    return max(filled(source) + filled(output) - own, filled(output))


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that memory did not suffice."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    words = ("out of memory", "allocate memory", "not enough memory", "alloc_failed")
    return isinstance(error, RuntimeError) and any(word in str(error).lower() for word in words)


def usable_memory(device: torch.device | str) -> float:
    """Return the share of the free memory that a translation may take: bytes."""
    device = torch.device(device)
    return SHARE_OF_FREE.get(device.type, SHARE_OF_FREE["cpu"]) * free_memory(device)


def free_memory(device: torch.device | str) -> int:
    """Return the memory that can still be had: bytes.

    On a GPU with what torch keeps for itself; on a CPU within the limit of the control group (a container, a job).
    """
    device = torch.device(device)
    if device.type == "cuda":
        idle = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + idle
    if device.type == "mps":
        return torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()
    return min([psutil.virtual_memory().available, *_control_group_free()])


def _control_group_free(root: Path = Path("/sys/fs/cgroup")) -> Iterator[int]:
    """Yield what a control group (version 2, then 1) leaves to its processes; its caches of files can be dropped."""
    for limit, used, cache in (
        (root / "memory.max", root / "memory.current", ("inactive_file", root / "memory.stat")),
        (
            root / "memory" / "memory.limit_in_bytes",
            root / "memory" / "memory.usage_in_bytes",
            ("total_inactive_file", root / "memory" / "memory.stat"),
        ),
    ):
        try:
            most, now = int(limit.read_text()), int(used.read_text())  # "max" is no number: no limit
            found = re.search(rf"^{cache[0]} (\d+)", cache[1].read_text(), re.MULTILINE)
        except (OSError, ValueError):
            continue
        yield max(0, most - now + (int(found[1]) if found else 0))


class Peak:
    """The most memory in use during a block, beyond what was in use at its start: `bytes`, once it has ended."""

    bytes = 0


@contextmanager
def peak_memory(device: torch.device | str) -> Iterator[Peak]:
    """Measure the peak of the block: torch's counters on a GPU, resident memory on a CPU.

    Memory that the process had freed but kept is used again unseen; where the system has no peak that can be reset
    (other than Linux) a peak below an earlier one counts as 0.
    """
    device, peak = torch.device(device), Peak()
    if device.type == "cuda":
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        yield peak
        peak.bytes = torch.cuda.max_memory_allocated(device) - before
        return
    give_back_freed()
    resident = psutil.Process().memory_info().rss
    start = max(resident, 0 if _reset_peak() else _highest_resident())
    yield peak
    peak.bytes = max(0, _highest_resident() - start)


def _reset_peak() -> bool:
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def _highest_resident() -> int:
    try:
        found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
        if found:
            return int(found[1]) * 1024
    except OSError:
        pass
    return int(getattr(psutil.Process().memory_info(), "peak_wset", 0)) or psutil.Process().memory_info().rss


def gigabytes(size: float) -> str:
    """Return a number of bytes in words."""
    if size < GIGABYTE:
        return f"{size / 1e6:.0f} MB"
    return f"{size / GIGABYTE:.1f} GB" if size < 10 * GIGABYTE else f"{size / GIGABYTE:.0f} GB"
