"""The loop of validation over cases and samples, whatever is scored and drawn."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pytest
import torch

from transmodal.datasets.cache import PreparedCase
from transmodal.datasets.preparation import Preparation
from transmodal.methods import Method, Ports
from transmodal.training.validation import Arrays, Validator


class Recording(Validator):
    """Scores each case by the mean of its image over the samples, and keeps which these were."""

    score_names = ("mean", "never")

    def case_scores(self, arrays: Arrays, samples: npt.NDArray[np.intp]) -> Iterator[tuple[str, float]]:
        self.seen = [*getattr(self, "seen", []), [int(sample) for sample in samples]]
        yield "mean", float(arrays["T2"][samples].mean())

    def pictures(self, case: PreparedCase, label: str) -> Iterator[tuple[str, bytes]]:
        for target in self.ports.targets:
            yield target, f"{target} of {case.case.id}, {label}".encode()


def validator(targets: tuple[str, ...] = ("T2",), **more: Any) -> Recording:
    ports = Ports({"T1": 1}, dict.fromkeys(targets, 1), 2, (4, 4))
    method, preparation = cast(Method, None), cast(Preparation, None)
    return Recording(method, ports, preparation, torch.device("cpu"), minimum_foreground=0.5, **more)


def case(name: str, foreground: list[float], value: float = 0.0) -> PreparedCase:
    arrays = {"T2": np.full((len(foreground), 1, 4, 4), value, np.float32)}
    made = SimpleNamespace(case=SimpleNamespace(id=name), foreground=np.array(foreground), arrays=lambda: arrays)
    return cast(PreparedCase, made)


@pytest.mark.parametrize(
    ("slices", "expected"), [(None, [1, 2, 3, 4, 5]), (5, [1, 2, 3, 4, 5]), (9, [1, 2, 3, 4, 5]), (3, [1, 3, 5])]
)
def test_slices_with_foreground_are_scored_all_or_so_many_evenly_spaced(
    slices: int | None, expected: list[int]
) -> None:
    recording = validator(slices=slices)
    recording.scores([case("a", [0.4, 0.5, 1, 1, 1, 1, 0])])
    assert recording.seen == [expected]


def test_scores_are_means_over_the_cases_that_have_any() -> None:
    recording = validator()
    cases = [case("a", [1], 1.0), case("empty", [0.1, 0.2], 50.0), case("b", [1, 1, 1], 3.0)]
    assert recording.scores(cases) == {"mean": 2.0} and len(recording.seen) == 2
    assert recording.scores(cases[1:2]) == {}


def test_pictures_are_of_a_few_cases_spread_over_the_list(tmp_path: Path) -> None:
    cases = [case(name, [1]) for name in "abcde"]
    validator().draw(cases, tmp_path, "epoch 0001", number=3)
    assert sorted(file.name for file in tmp_path.iterdir()) == [f"epoch_0001_{name}.png" for name in "ace"]


def test_pictures_of_several_targets_are_told_apart(tmp_path: Path) -> None:
    validator(("T2", "FLAIR")).draw([case("a", [1])], tmp_path, "epoch 0001")
    assert (tmp_path / "epoch_0001_a_FLAIR.png").read_bytes() == b"FLAIR of a, epoch 0001"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["epoch_0001_a_FLAIR.png", "epoch_0001_a_T2.png"]
