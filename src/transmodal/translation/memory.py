"""How much memory a network takes for a volume, and what to do when it is more than there is: smaller windows.

What one pass needs is counted, not guessed: on the CPU the network runs on tensors without values (torch's FakeTensor,
a fraction of a second for any size) while a dispatch mode adds up the tensors alive; on a GPU a small window really
runs and torch's own counters tell. Then the whole volume goes through in one pass where it fits, else the windows that
cost the least work among those that fit. An allocation that fails all the same leads to smaller windows, not the end.
"""

import ctypes
import logging
import math
import re
import sys
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from transmodal.errors import UserError
from transmodal.translation.windows import Blend, Predict, sliding_window, window_count

SHARE_OF_FREE = {"cpu": 0.7, "cuda": 0.9}  # a CPU's memory serves other programs too
MARGIN = 1.1  # scratch memory beyond that of convolutions, which no count of tensors sees
KEPT_BY_ALLOCATOR = 64e6  # glibc keeps freed blocks of up to 32 MB, and some lie between others
BLOCK = 16  # channels to which oneDNN's convolutions fill up
PROBE = 64  # side of the window that really runs on a GPU
STEP = 16  # windows are multiples of it, or the whole axis
GOOD_SIDE, FAIR_SIDE = 64, 32  # pixels that a window should see along every axis
GIGABYTE = 1e9

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Need:
    """What a network takes.

    Attributes:
        bytes_per_voxel: at the peak of one pass, per voxel of what passes, input and outputs counted.
        kept_per_voxel: of the volume and its sums in float32, per voxel of the volume, beside the windows.
    """

    bytes_per_voxel: float
    kept_per_voxel: float


@dataclass(frozen=True)
class Plan:
    """How a volume goes through the network.

    Attributes:
        whole: in one pass.
        window: spatial shape of what passes at once; of the volume itself where `whole`.
        batch: windows that pass together.
        bytes: that this takes, estimated.
        why: one sentence for the log.
    """

    whole: bool
    window: tuple[int, ...]
    batch: int
    bytes: float
    why: str


class VolumePredictor:
    """Predicts volumes within the memory there is, and says how; `translate_stacks` takes it as `predict_volume`.

    Args:
        device: where the network lies.
        limit: bytes that may be used; None takes a share of the free memory (0.7 on a CPU, 0.9 on a GPU).
        window: a window to be used, such as the patches of the training, made smaller only where a stated limit or
            an allocation that fails asks for it; None chooses.
        overlap, blend: see `sliding_window`.
        batch: windows that may pass together; 1 for networks whose outputs depend on what shares their batch.
        say: called with each new sentence: the plan, a fallback; None puts it into the log.
        on_window: see `sliding_window`.

    Attributes:
        plan: of the last volume.
        peak: bytes that the last volume took beyond what was in use before.
    """

    def __init__(
        self,
        device: torch.device | str = "cpu",
        *,
        limit: float | None = None,
        window: Sequence[int] | None = None,
        overlap: float = 0.5,
        blend: Blend = "gaussian",
        batch: int = 1,
        say: Callable[[str], None] | None = None,
        on_window: Callable[[int, int], None] | None = None,
    ) -> None:
        self.device, self.limit = torch.device(device), limit
        self.window = None if window is None else tuple(window)
        self.overlap, self.blend, self.batch = overlap, blend, batch
        self.on_window = on_window
        self.plan: Plan | None = None
        self.peak = 0
        self._say = say or _log.info
        self._said: set[str] = set()
        self._needs: dict[tuple[int, ...], Need] = {}

    def __call__(self, predict: Predict, volume: Tensor) -> dict[str, Tensor]:
        """Predict one volume.

        Args:
            predict: (N, C, *spatial) on the device → target → (N, C', *spatial).
            volume: (C, *spatial).

        Returns:
            Target → (C', *spatial) float32 where the volume lies.

        Raises:
            UserError: even the smallest windows need more memory than there is.
        """
        with torch.inference_mode(), peak_memory(self.device) as peak:
            plan = self._first_plan(predict, volume)
            while True:
                self._tell(plan.why)
                self.plan = plan
                outputs = self._try(predict, volume, plan)
                if outputs is not None:
                    break
                plan = self._smaller(plan, tuple(volume.shape[1:]))
        self.peak = peak.bytes
        return outputs

    def _first_plan(self, predict: Predict, volume: Tensor) -> Plan:
        spatial = tuple(volume.shape[1:])
        need = self._need(predict, volume.shape[0], spatial)
        limit = self.limit if self.limit is not None else usable_memory(self.device)
        if self.device.type == "cpu":
            limit -= need.kept_per_voxel * math.prod(spatial) + min(KEPT_BY_ALLOCATOR, 0.3 * limit)
        limit = max(0.0, limit)
        asked, overlap, batch = self.window, self.overlap, self.batch
        bound = self.limit is not None
        per_voxel = need.bytes_per_voxel
        if asked is not None and bound:  # networks pad windows to their own multiples: count them as they are
            per_voxel = self._need(predict, volume.shape[0], asked).bytes_per_voxel
        plan = choose_plan(spatial, per_voxel, limit, window=asked, overlap=overlap, most_batched=batch, bound=bound)
        if not plan.whole and plan.window != asked:
            measured = self._need(predict, volume.shape[0], plan.window).bytes_per_voxel
            if measured > per_voxel:
                plan = choose_plan(
                    spatial, measured, limit, window=asked, overlap=overlap, most_batched=batch, bound=bound
                )
        return plan

    def _need(self, predict: Predict, channels: int, spatial: tuple[int, ...]) -> Need:
        if self.device.type == "cuda":
            spatial = tuple(min(PROBE, size) for size in spatial)
        key = (channels, *spatial)
        if key not in self._needs:
            self._needs[key] = estimate(predict, channels, spatial, self.device)
        return self._needs[key]

    def _try(self, predict: Predict, volume: Tensor, plan: Plan) -> dict[str, Tensor] | None:
        """Return the outputs, or None where memory did not suffice: nothing of the failed pass is then held."""
        try:
            if plan.whole:
                made = predict(volume[None].to(self.device))
                return {name: output[0].to(volume.device, torch.float32) for name, output in made.items()}
            return sliding_window(
                predict,
                volume,
                window=plan.window,
                overlap=self.overlap,
                blend=self.blend,
                batch=plan.batch,
                device=self.device,
                on_window=self.on_window,
            )
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            return None

    def _smaller(self, plan: Plan, spatial: tuple[int, ...]) -> Plan:
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        if plan.batch > 1:
            why = f"memory ran out: once more with the same windows, one at a time instead of {plan.batch}"
            return Plan(False, plan.window, 1, plan.bytes / plan.batch, why)
        if all(side <= min(STEP, size) for side, size in zip(plan.window, spatial, strict=True)):
            raise UserError(
                f"A volume of {_shape(spatial)} needs more memory than {self.device} has, even in windows of "
                f"{_shape(plan.window)}; end other programs, use another device, or crop it"
            )
        voxels = math.prod(plan.window)
        smaller = choose_plan(spatial, 1.0, voxels / 2, overlap=self.overlap)
        count = window_count(spatial, smaller.window, self.overlap)
        per_voxel = plan.bytes / voxels
        sides = f"{_shape(smaller.window)} instead of {_shape(plan.window)}"
        why = f"memory ran out: once more with {count} windows of {sides}"
        return Plan(False, smaller.window, 1, per_voxel * math.prod(smaller.window), why)

    def _tell(self, sentence: str) -> None:
        if sentence not in self._said:
            self._said.add(sentence)
            self._say(sentence)


def choose_plan(
    spatial: Sequence[int],
    bytes_per_voxel: float,
    limit: float,
    *,
    window: Sequence[int] | None = None,
    overlap: float = 0.5,
    most_batched: int = 1,
    bound: bool = False,
) -> Plan:
    """Choose between one pass and windows.

    Args:
        spatial: shape of the volume.
        bytes_per_voxel: of one pass, at its peak.
        limit: bytes that may be used.
        window: one that is set beforehand; only the batch is then chosen, unless `bound`.
        overlap: of the windows.
        most_batched: windows that may pass together.
        bound: the limit goes before the window that is set: one that does not fit becomes smaller.

    Returns:
        The whole volume where it fits. Else, of the windows of multiples of 16 pixels (or a whole axis) that fit, the
        ones that cost the least work, and at least 64 pixels wide if there are such, else 32, else whatever fits; where
        nothing fits, the smallest, which is then tried.
    """
    spatial = tuple(spatial)
    whole = bytes_per_voxel * math.prod(spatial)
    if window is None and whole <= limit:
        why = f"whole volume in one pass: {_shape(spatial)} needs {gigabytes(whole)} of {gigabytes(limit)}"
        return Plan(True, spatial, 1, whole, why)
    side = tuple(window) if window is not None else _cheapest_window(spatial, limit / bytes_per_voxel, overlap)
    asked = bytes_per_voxel * math.prod(side)
    shrunk = window is not None and bound and asked > limit
    if shrunk:
        side = _cheapest_window(side, limit / bytes_per_voxel, overlap)
    one = bytes_per_voxel * math.prod(side)
    count = window_count(spatial, side, overlap)
    batch = int(max(1, min(most_batched, count, limit // one)))
    reason = (
        f"those of {_shape(window)}, as asked, need {gigabytes(asked)} and {gigabytes(limit)} may be used"
        if window is not None and shrunk
        else "as asked"
        if window is not None
        else f"the whole volume needs {gigabytes(whole)} and {gigabytes(limit)} may be used"
    )
    if (window is None or bound) and one > limit:
        reason += ", less than the smallest windows need"
    together = f", {batch} at a time" if batch > 1 else ""
    why = f"{count} windows of {_shape(side)}{together}, {gigabytes(one * batch)} each time: {reason}"
    return Plan(False, side, batch, one * batch, why)


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


def slices_that_fit(
    predict: Predict,
    channels: int,
    spatial: Sequence[int],
    limit: float,
    most: int,
    *,
    device: torch.device | str = "cpu",
    say: Callable[[str], None] | None = None,
) -> int:
    """Return how many slices may go through the network together, 1 to `most`.

    Args:
        predict, channels, spatial, device: as for `estimate`; spatial is the shape of a slice.
        limit: bytes that may be used.
        most: where they all fit.
        say: called with a sentence where fewer fit, and where not even one does, which is then tried; None puts it
            into the log.
    """
    device = torch.device(device)
    one = estimate(predict, channels, spatial, device).bytes_per_voxel * math.prod(spatial)
    if device.type == "cpu":
        limit -= min(KEPT_BY_ALLOCATOR, 0.3 * limit)
    count = int(max(1, min(most, limit // one)))
    if count < most or one > limit:
        less = ", less than one slice needs" if one > limit else ""
        together = f"{count} slices at a time" if count > 1 else "one slice at a time"
        instead = f" instead of {most}" if count < most else ""
        (say or _log.info)(
            f"{together}{instead}: one of {_shape(spatial)} needs {gigabytes(one)} and {gigabytes(limit)} "
            f"may be used{less}"
        )
    return count


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
    if sys.platform == "linux":
        _give_back_freed()
    resident = psutil.Process().memory_info().rss
    start = max(resident, 0 if _reset_peak() else _highest_resident())
    yield peak
    peak.bytes = max(0, _highest_resident() - start)


def _give_back_freed() -> None:
    library = ctypes.CDLL(None)
    if hasattr(library, "malloc_trim"):
        library.malloc_trim(0)


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


def _cheapest_window(spatial: tuple[int, ...], voxels: float, overlap: float) -> tuple[int, ...]:
    """Return the window of at most so many voxels that costs the least work; see `choose_plan`."""
    step = STEP * max(1, round(max(spatial) / 256))  # large volumes: not every multiple, there would be many
    candidates = sorted({STEP, 2 * STEP, *range(step, max(spatial), step)})
    sides = [[*(side for side in candidates if side < size), size] for size in spatial]
    fitting = [window for window in product(*sides) if math.prod(window) <= voxels]
    if not fitting:
        return tuple(choices[0] for choices in sides)
    for least in (GOOD_SIDE, FAIR_SIDE, 1):
        wide = [
            window
            for window in fitting
            if all(side >= min(least, size) for side, size in zip(window, spatial, strict=True))
        ]
        if wide:
            break
    return min(wide, key=lambda window: (window_count(spatial, window, overlap) * math.prod(window), -min(window)))


def _shape(spatial: Sequence[int]) -> str:
    return "×".join(map(str, spatial))


def gigabytes(size: float) -> str:
    """Return a number of bytes in words."""
    if size < GIGABYTE:
        return f"{size / 1e6:.0f} MB"
    return f"{size / GIGABYTE:.1f} GB" if size < 10 * GIGABYTE else f"{size / GIGABYTE:.0f} GB"
