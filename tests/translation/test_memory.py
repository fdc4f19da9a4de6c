"""Volumes within memory: what a pass takes is foreseen, windows are chosen to fit, and running out is no end."""

import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from transmodal.errors import UserError
from transmodal.translation.memory import (
    _control_group_free as control_group_free,
)
from transmodal.translation.memory import (
    estimate,
    free_memory,
    is_out_of_memory,
    peak_memory,
    usable_memory,
)
from transmodal.translation.volume_predictor import VolumePredictor, choose_plan, slices_that_fit

BRAIN = (240, 240, 155)


def identity(pieces: Tensor) -> dict[str, Tensor]:
    return {"same": pieces}


def test_a_volume_that_fits_passes_whole_and_one_that_does_not_in_windows_that_fit() -> None:
    whole = choose_plan(BRAIN, 300, 4e9)
    assert whole.whole and whole.window == BRAIN and "one pass" in whole.why and "240×240×155 needs 2.7 GB" in whole.why
    for limit in (2e9, 1e9, 3e8, 3e7, 3e6):
        plan = choose_plan(BRAIN, 300, limit)
        assert not plan.whole and plan.bytes == 300 * math.prod(plan.window) <= limit
        assert all(side % 16 == 0 or side == size for side, size in zip(plan.window, BRAIN, strict=True))
        assert "windows" in plan.why and "2.7 GB" in plan.why
    assert min(choose_plan(BRAIN, 300, 2e9).window) >= 64, "thin windows see too little"


def test_where_nothing_fits_the_smallest_windows_are_tried_and_it_is_said() -> None:
    plan = choose_plan(BRAIN, 300, 1e5)
    assert plan.window == (16, 16, 16) and "less than the smallest" in plan.why


def test_a_window_that_is_asked_for_is_taken_and_batched_as_memory_allows() -> None:
    plan = choose_plan(BRAIN, 300, 1e9, window=(72, 72, 72), most_batched=16)
    assert plan.window == (72, 72, 72) and plan.batch == 8 and "as asked" in plan.why and "8 at a time" in plan.why
    assert choose_plan(BRAIN, 300, 1e9, window=(72, 72, 72)).batch == 1


def two_convolutions() -> nn.Module:
    return nn.Sequential(nn.Conv3d(1, 6, 3, padding=1), nn.Conv3d(6, 2, 3, padding=1)).eval()


def test_the_memory_of_a_pass_is_counted_without_running_it() -> None:
    network = two_convolutions()
    shape = (1000, 1000, 1000)  # no machine could run this
    need = estimate(lambda x: {"a": network(x)}, 1, shape, margin=1)
    # At the peak, in the second layer: 1 + 6 channels of float32 and the library's copies of 6 and 2, filled up to 16.
    assert need.bytes_per_voxel == pytest.approx(4 * (1 + 6 + 16 + 16), rel=1e-6)
    assert need.kept_per_voxel == 4 * (1 + 2 + 2)


def test_what_is_freed_on_the_way_is_not_counted_and_views_are_counted_once() -> None:
    def chain(pieces: Tensor) -> dict[str, Tensor]:
        for _ in range(10):
            pieces = (pieces + 1).transpose(2, 3)  # only the old and the new are alive
        return {"a": pieces}

    assert estimate(chain, 1, (50, 40, 30), margin=1).bytes_per_voxel == pytest.approx(4 * 2)


def test_counting_draws_no_random_numbers_and_leaves_the_weights_alone() -> None:
    network = nn.Sequential(two_convolutions(), nn.Dropout(0.5)).train()
    weights = {name: value.clone() for name, value in network.state_dict().items()}
    torch.manual_seed(3)
    estimate(lambda x: {"a": network(x)}, 1, (32, 32, 32))
    drawn = torch.rand(1)
    torch.manual_seed(3)
    assert torch.equal(drawn, torch.rand(1))
    assert all(torch.equal(value, weights[name]) for name, value in network.state_dict().items())


def test_a_network_that_looks_at_values_really_runs_on_a_small_window() -> None:
    seen: list[tuple[int, ...]] = []

    def looks(pieces: Tensor) -> dict[str, Tensor]:
        if float(pieces.sum()) > 1e9:
            return {}
        seen.append(tuple(pieces.shape))
        return {"a": torch.cat([pieces] * 3, dim=1)}

    need = estimate(looks, 1, (500, 400, 20), margin=1)
    assert seen == [(1, 1, 64, 64, 20)]
    assert need.bytes_per_voxel == pytest.approx(16, rel=0.01)


def test_the_count_bounds_what_the_process_really_takes() -> None:
    def heavy(pieces: Tensor) -> dict[str, Tensor]:
        wide = pieces.repeat(1, 12, 1, 1, 1)
        return {"a": (wide * 2).sum(1, keepdim=True)}

    need = estimate(heavy, 1, (128, 128, 128))
    volume = torch.zeros(1, 1, 128, 128, 128)
    with peak_memory("cpu") as peak:
        heavy(volume)
    assert 0.6 * need.bytes_per_voxel < peak.bytes / volume.numel() < need.bytes_per_voxel


def test_running_out_of_memory_leads_to_smaller_windows_and_says_so() -> None:
    said: list[str] = []
    passed: list[int] = []

    def greedy(pieces: Tensor) -> dict[str, Tensor]:
        if isinstance(pieces, torch._subclasses.FakeTensor):
            return identity(pieces)
        passed.append(pieces[0, 0].numel())
        if pieces[0, 0].numel() > 40**3:
            raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate")
        return identity(pieces)

    volume = torch.rand(1, 80, 60, 50, generator=torch.Generator().manual_seed(0))
    predictor = VolumePredictor(say=said.append)
    outputs = predictor(greedy, volume)
    torch.testing.assert_close(outputs["same"], volume, rtol=0, atol=1e-6)
    assert passed[0] == volume.numel() and max(passed[-3:]) <= 40**3
    assert "one pass" in said[0] and "memory ran out" in said[1] and "80×60×50" in said[1]
    assert predictor.plan is not None and not predictor.plan.whole


def test_batches_shrink_before_windows_do() -> None:
    said: list[str] = []

    def no_batches(pieces: Tensor) -> dict[str, Tensor]:
        if len(pieces) > 1:
            raise MemoryError
        return identity(pieces)

    volume = torch.rand(1, 40, 40)
    predictor = VolumePredictor(window=(16, 16), batch=4, say=said.append)
    torch.testing.assert_close(predictor(no_batches, volume)["same"], volume, rtol=0, atol=1e-6)
    assert "one at a time instead of 4" in said[-1]
    one = VolumePredictor(window=(16, 16), batch=1, say=said.append)
    one(no_batches, volume)
    assert predictor.plan is not None and one.plan is not None and predictor.plan.bytes == one.plan.bytes


def test_other_errors_are_not_mistaken_for_memory_and_the_end_is_one_line() -> None:
    def wrong(_: Tensor) -> dict[str, Tensor]:
        raise RuntimeError("sizes of tensors must match")

    def never(pieces: Tensor) -> dict[str, Tensor]:
        raise MemoryError

    with pytest.raises(RuntimeError, match="must match"):
        VolumePredictor(window=(8, 8), limit=1e9)(wrong, torch.zeros(1, 20, 20))
    with pytest.raises(MemoryError):  # neither a count nor a small window
        estimate(never, 1, (20, 20))

    def only_counted(pieces: Tensor) -> dict[str, Tensor]:
        if isinstance(pieces, torch._subclasses.FakeTensor):
            return identity(pieces)
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(UserError, match="even in windows of 16×16") as caught:
        VolumePredictor()(only_counted, torch.zeros(1, 70, 70))
    assert "\n" not in str(caught.value)
    assert not is_out_of_memory(ValueError("out of memory"))


BOUNDED = """
import sys, torch
from torch import nn
from transmodal.translation.volume_predictor import VolumePredictor

torch.manual_seed(0)
network = nn.Sequential(nn.Conv3d(1, 16, 3, padding=1), nn.Conv3d(16, 2, 3, padding=1)).eval()
layout = torch.channels_last_3d if sys.argv[1] == "last" else torch.contiguous_format

def predict(pieces):
    first, second = network[0](pieces).contiguous(memory_format=layout), network[1]
    return {"a": second(first)}

volume = torch.rand(1, 192, 192, 112)
predictor = VolumePredictor(limit=float(sys.argv[3]))
predictor(predict, volume[:, :64, :64, :64])  # what is imported and cached on the way is not the volume's
if sys.argv[2] == "old":  # a heap full of holes of up to 12 MB, with something still in use between them
    torch.empty(8_000_000), torch.zeros(8_000_000)
    for _ in range(3):
        kept = [torch.rand(int(size)) for size in torch.randint(1, 4, (60,)) * 1_000_000][::7]
predictor(predict, volume)
print(predictor.plan.whole, predictor.peak)
"""


@pytest.mark.parametrize("past", ["fresh", "old"])
@pytest.mark.parametrize("channels", ["last", "first"])
@pytest.mark.parametrize("limit", [300e6, 1200e6])
def test_a_limit_bounds_what_is_really_taken(channels: str, past: str, limit: float) -> None:
    """In a process of its own: resident memory is the process's, whatever else has run in it."""
    words = [sys.executable, "-c", BOUNDED, channels, past, str(limit)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    whole, peak = done.stdout.split()
    assert whole == str(limit > 1e9), "the whole volume takes 600 to 900 MB"
    assert limit / 3 < int(peak) <= limit


def test_free_memory_heeds_the_control_group(tmp_path: Path) -> None:
    assert 0 < usable_memory("cpu") < free_memory("cpu")
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("5000\n")
    (tmp_path / "memory.stat").write_text("anon 1\ninactive_file 3000\n")
    assert list(control_group_free(tmp_path)) == []
    (tmp_path / "memory.max").write_text("9000\n")
    assert list(control_group_free(tmp_path)) == [7000]


@pytest.mark.skipif(sys.platform != "linux", reason="limits of the address space as Linux has them")
def test_a_process_with_too_little_memory_finishes_by_smaller_windows() -> None:
    program = """
import resource, torch
from transmodal.translation.volume_predictor import VolumePredictor
network = torch.nn.Sequential(torch.nn.Conv3d(1, 24, 3, padding=1), torch.nn.Conv3d(24, 1, 3, padding=1)).eval()
predict = lambda x: {"a": network(x)}
volume = torch.rand(1, 96, 96, 96)
VolumePredictor(limit=1e9)(predict, volume[:, :32, :32, :32])
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 80_000_000,) * 2)
made = VolumePredictor(limit=1e12, say=print)(predict, volume)["a"]
print(tuple(made.shape), bool(torch.isfinite(made).all()))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "memory ran out" in done.stdout and "(1, 96, 96, 96) True" in done.stdout


def test_a_stated_limit_goes_before_the_window_that_is_asked_for() -> None:
    network = two_convolutions()
    said: list[str] = []
    volume = torch.rand(1, 64, 64, 64)
    predictor = VolumePredictor(limit=12e6, window=(48, 48, 48), say=said.append)
    predictor(lambda x: {"a": network(x)}, volume)
    plan = predictor.plan
    assert plan is not None and plan.bytes <= 12e6 and math.prod(plan.window) < 48**3
    assert "those of 48×48×48, as asked, need" in said[0]
    roomy = VolumePredictor(limit=1e9, window=(48, 48, 48), say=said.append)
    roomy(lambda x: {"a": network(x)}, volume)
    assert roomy.plan is not None and roomy.plan.window == (48, 48, 48)
    free = choose_plan((64, 64, 64), 200, 5e6, window=(48, 48, 48))
    assert free.window == (48, 48, 48), "what is free may change while it runs: as asked, and smaller if that fails"
    tiny = choose_plan((64, 64, 64), 200, 1e5, window=(48, 48, 48), bound=True)
    assert tiny.window == (16, 16, 16) and "less than the smallest" in tiny.why


def test_slices_go_in_as_large_batches_as_a_stated_limit_allows() -> None:
    network = nn.Conv2d(1, 16, 3, padding=1).eval()
    said: list[str] = []

    def fit(limit: float) -> int:
        return slices_that_fit(lambda x: {"a": network(x)}, 1, (100, 100), limit, 8, say=said.append)

    one = estimate(lambda x: {"a": network(x)}, 1, (100, 100)).bytes_per_voxel * 1e4
    assert fit(1e9) == 8 and not said
    assert fit(3.5 * one / 0.7) == 3 and said[-1].startswith("3 slices at a time instead of 8")
    assert fit(0.5 * one) == 1 and "less than one slice needs" in said[-1]


def test_a_window_is_never_larger_than_the_volume() -> None:
    passed: list[tuple[int, ...]] = []
    said: list[str] = []

    def predict(pieces: Tensor) -> dict[str, Tensor]:
        passed.append(tuple(pieces.shape[2:]))
        return identity(pieces)

    volume = torch.rand(1, 30, 30, 20)
    for window, taken in (((500, 500, 500), (30, 30, 20)), ((16, 500, 500), (16, 30, 20))):
        predictor = VolumePredictor(window=window, say=said.append)
        torch.testing.assert_close(predictor(predict, volume)["same"], volume, rtol=0, atol=1e-6)
        assert all(side <= size for sides in passed for side, size in zip(sides, volume.shape[1:], strict=True))
        assert passed[-1] == taken and "×".join(map(str, taken)) in said[-1] and "500" not in said[-1]
    assert "whole volume in one pass" in said[0] and said[1].endswith("as asked")
    bounded = VolumePredictor(window=(500, 500, 500), limit=400e3, say=said.append)
    bounded(predict, volume)
    assert bounded.plan is not None and not bounded.plan.whole and bounded.plan.bytes <= 400e3


def test_memory_is_heeded_by_a_window_that_holds_the_whole_volume_and_what_is_too_little_is_said() -> None:
    assert choose_plan(BRAIN, 300, 1e9, window=(500, 500, 500)) == choose_plan(BRAIN, 300, 1e9)
    tight = choose_plan(BRAIN, 300, 1e7, window=(72, 72, 300))
    assert tight.window == (72, 72, 155) and tight.why.endswith("as asked, though 10 MB are free")


def test_a_window_that_nobody_asked_for_is_not_said_to_be() -> None:
    plan = choose_plan(BRAIN, 300, 1e9, window=(72, 72, 72), origin="as trained")
    assert plan.why.endswith(": as trained")
    shrunk = choose_plan(BRAIN, 300, 1e7, window=(72, 72, 72), origin="as trained", bound=True)
    assert "those of 72×72×72, as trained, need" in shrunk.why
