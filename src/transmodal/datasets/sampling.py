"""Training samples, of which each is drawn from (seed, epoch, index) alone: a resumed training sees the same ones.

A sample is a picture, a slice of a volume with its neighbours (2.5-D), or a patch. Cases may lack modalities, and
inputs may be hidden at random, so that a translator learns to do without them.
"""

from collections.abc import Collection, Mapping, Sequence
from functools import cached_property
from itertools import combinations
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch.utils.data import Dataset

from transmodal.datasets.augmentation import AugmentationSettings, Augmenter
from transmodal.datasets.batch_keys import GIVEN, LABELS, REGION, WANTED
from transmodal.datasets.cache import PreparedCase
from transmodal.datasets.epochs import Key
from transmodal.datasets.pasting import PasteSettings, paste_lesion
from transmodal.datasets.strata import StrataSettings, lesion_area, stratum_of
from transmodal.errors import UserError

_PLACE, _HIDE, _PASTE, _DONOR = 1, 2, 3, 4  # streams of random numbers beside augmentation's


class SamplingSettings(BaseModel):
    """What a training sample is."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    patch: tuple[Annotated[int, Field(ge=4)], ...] | None = Field(
        None, description="shape of random patches in prepared pixels; null takes whole slices, pictures or volumes"
    )
    patches_per_case: int = Field(8, ge=1, description="patches of each case (of each slice) in an epoch")
    foreground: float = Field(
        0.5, ge=0, le=1, description="share of patches around a labelled voxel, or one in the region without labels"
    )
    missing_inputs: bool = Field(False, description="inputs may be absent, in training and in use")
    hide_inputs: float = Field(
        0.0, ge=0, le=1, description="probability that a sample hides inputs; each subset of them is then as likely"
    )
    strata: StrataSettings | None = Field(
        None, description="draw lesions of all sizes equally often; null: samples as they come"
    )
    paste: PasteSettings | None = Field(None, description="paste lesions of other subjects; null: none")


class Samples(Dataset[dict[str, torch.Tensor]]):
    """Samples of prepared cases, as `transmodal.methods.Batch` describes them without the first axis.

    Args:
        cases: prepared.
        inputs: input modalities; only these are changed in tone.
        targets: target modalities.
        channels: modality → channels, for what a case lacks.
        settings: patches and missing inputs.
        augmentation: None leaves samples as they are.
        spatial_dims: of a sample.
        seed: with the epoch and the index, the source of all that is drawn.
        minimum_foreground: slices with a smaller share of non-zero pixels are left out.
        neighbours: slices on each side that inputs bring along.
        marks: name → one number a case, which goes along with each of its samples (SEGMENTOR, DATASET).
        makes_labels: the one target is the label map that goes along.
        lesions: prepared numbers of the label map that are lesions; None takes all above 0.
        ground: of those, on which alone lesions are pasted; None is anywhere.

    Raises:
        UserError: lesions are to be pasted, and no two subjects have pixels of one size and a lesion in one of them.
    """

    def __init__(
        self,
        cases: Sequence[PreparedCase],
        *,
        inputs: Sequence[str],
        targets: Sequence[str] = (),
        channels: dict[str, int] | None = None,
        settings: SamplingSettings | None = None,
        augmentation: AugmentationSettings | None = None,
        spatial_dims: int = 2,
        seed: int = 0,
        minimum_foreground: float = 0.0,
        neighbours: int = 0,
        marks: Mapping[str, Sequence[int]] | None = None,
        makes_labels: bool = False,
        lesions: Collection[int] | None = None,
        ground: Collection[int] | None = None,
    ) -> None:
        self.makes_labels, self.lesions, self.ground = makes_labels, lesions, ground
        self.cases, self.inputs, self.targets, self.seed = list(cases), tuple(inputs), tuple(targets), seed
        self.channels, self.settings = channels or {}, settings or SamplingSettings()
        self.augmentation, self.spatial_dims, self.neighbours = augmentation, spatial_dims, neighbours
        self.marks = dict(marks or {})
        self._augmenters: dict[tuple[float, ...] | None, Augmenter] = {}
        self._donors: dict[tuple[str, tuple[float, ...] | None], list[tuple[int, int]]] = {}
        repeats = self.settings.patches_per_case if self.settings.patch is not None else 1
        self.index = [
            (case, sample)
            for case, prepared in enumerate(self.cases)
            for sample, share in enumerate(prepared.foreground)
            if share >= minimum_foreground
            for _ in range(repeats)
        ]
        if self.settings.paste is not None and not any(self._donors_for(case) for case in self.cases):
            raise UserError(
                "sampling.paste: no training subject has a lesion that another, with pixels of the same size in mm, "
                "could be given; set preparation.grid.spacing, or sampling.paste=null"
            )

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, key: Key) -> dict[str, torch.Tensor]:
        epoch, index = key
        number, sample = self.index[index]
        case = self.cases[number]
        stored = case.arrays()
        window = self._window(stored, sample, epoch, index)
        arrays = {name: self._take(name, array, sample, window) for name, array in stored.items()}
        given, wanted = self._parted(set(arrays), epoch, index) if self.settings.missing_inputs else (set(), set())
        # Where one modality is now input and now target, only what is given may change in tone.
        toned = given if self.settings.missing_inputs else set(self.inputs)
        arrays = self._augmented(case, arrays, toned, np.random.default_rng([self.seed, epoch, index]))
        if self.settings.paste is not None:
            arrays = self._with_pasted(case, arrays, epoch, index)
        tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
        if LABELS in tensors:
            tensors[LABELS] = tensors[LABELS].long()
        if self.settings.missing_inputs:
            self._complete(tensors, given, wanted)
        for name, values in self.marks.items():
            tensors[name] = torch.tensor(values[number])
        return tensors

    def strata(self) -> npt.NDArray[np.intp] | None:
        """Return the stratum of each sample; None where the settings have none."""
        settings = self.settings.strata
        if settings is None:
            return None
        strata = {key: stratum_of(area, settings.edges) for key, area in self._areas.items()}
        return np.array([strata[key] for key in self.index], np.intp)

    @cached_property
    def _areas(self) -> dict[tuple[int, int], float]:
        """(case, sample) → area of its lesions, in mm²."""
        found: dict[tuple[int, int], float] = {}
        for number, sample in self.index:
            if (number, sample) not in found:
                case = self.cases[number]
                found[number, sample] = lesion_area(case.arrays()[LABELS][sample, 0], self.lesions, case.spacing)
        return found

    def _donors_for(self, case: PreparedCase) -> list[tuple[int, int]]:
        """Return the (case, sample) of other subjects that show a lesion in pixels of the same size."""
        key = case.case.subject, case.spacing
        if key not in self._donors:
            self._donors[key] = [
                (number, sample)
                for (number, sample), area in self._areas.items()
                if area > 0
                and self.cases[number].case.subject != case.case.subject
                and _alike(self.cases[number].spacing, case.spacing)
            ]
        return self._donors[key]

    def _augmented(
        self, case: PreparedCase, arrays: dict[str, Any], toned: Collection[str], generator: np.random.Generator
    ) -> dict[str, Any]:
        if self.augmentation is None:
            return {name: np.array(array) for name, array in arrays.items()}
        inputs = [name for name in self.inputs if name in arrays and name in toned]
        return self._augmenter(case.spacing)(arrays, generator, inputs=inputs)

    def _with_pasted(self, case: PreparedCase, arrays: dict[str, Any], epoch: int, index: int) -> dict[str, Any]:
        """Return a sample with a lesion of another subject, as often as the settings say."""
        settings = self.settings.paste
        assert settings is not None
        generator = np.random.default_rng([self.seed, epoch, index, _PASTE])
        donors = self._donors_for(case)
        if generator.random() >= settings.probability or not donors:
            return arrays
        number, sample = donors[int(generator.integers(len(donors)))]
        donor = self.cases[number]
        stored = donor.arrays()
        if any((name in stored) != (name in arrays) for name in self.inputs):
            return arrays
        inputs = [name for name in self.inputs if name in stored]
        window = self._window_of_lesion(stored, sample, generator)
        taken = {name: self._take(name, stored[name], sample, window) for name in (*inputs, LABELS)}
        turned = self._augmented(donor, taken, inputs, np.random.default_rng([self.seed, epoch, index, _DONOR]))
        return paste_lesion(
            arrays,
            turned,
            inputs=inputs,
            lesions=self.lesions,
            ground=self.ground,
            settings=settings,
            generator=generator,
        )

    def _augmenter(self, spacing: tuple[float, ...] | None) -> Augmenter:
        if spacing not in self._augmenters:
            assert self.augmentation is not None
            extras = (REGION, LABELS)
            self._augmenters[spacing] = Augmenter(self.augmentation, self.spatial_dims, extras, spacing)
        return self._augmenters[spacing]

    def _take(
        self, name: str, array: npt.NDArray[Any], sample: int, window: tuple[slice, ...]
    ) -> npt.NDArray[np.float32]:
        """(channels, *spatial) float32 of one sample; an input with its neighbours, those of the edge repeated."""
        if name in self.inputs and self.neighbours:
            taken = slices_around(array, sample, self.neighbours)
        else:
            taken = array[sample]
        taken = taken[(slice(None), *window)]
        if self.settings.patch is not None and taken.shape[1:] != self.settings.patch:
            taken = _padded(taken, self.settings.patch, 0.0 if name in (REGION, LABELS) else -1.0)
        return taken if taken.dtype == np.float32 else taken.astype(np.float32)

    def _window(self, stored: dict[str, npt.NDArray[Any]], sample: int, epoch: int, index: int) -> tuple[slice, ...]:
        """Return where a patch lies; everything where samples are whole."""
        patch = self.settings.patch
        if patch is None:
            return ()
        shape = next(iter(stored.values())).shape[2:]
        generator = np.random.default_rng([self.seed, epoch, index, _PLACE])
        low = [0] * len(shape)
        high = [max(0, length - size) for length, size in zip(shape, patch, strict=True)]
        corner = generator.integers(low, [last + 1 for last in high])
        if generator.random() < self.settings.foreground:
            centre = _foreground_voxel(stored, sample, generator)
            if centre is not None:
                # Not exactly in the middle: a network must not learn that what matters lies there.
                shift = generator.integers([-(size // 4) for size in patch], [size // 4 + 1 for size in patch])
                corner = np.clip(centre - np.array(patch) // 2 + shift, low, high)
        return tuple(slice(int(start), int(start) + size) for start, size in zip(corner, patch, strict=True))

    def _window_of_lesion(
        self, stored: dict[str, npt.NDArray[Any]], sample: int, generator: np.random.Generator
    ) -> tuple[slice, ...]:
        """Return a patch around a voxel of a lesion; everything where samples are whole."""
        patch = self.settings.patch
        if patch is None:
            return ()
        labels = stored[LABELS][sample, 0]
        places = np.flatnonzero(labels > 0 if self.lesions is None else np.isin(labels, list(self.lesions)))
        centre = np.unravel_index(int(places[int(generator.integers(len(places)))]), labels.shape)
        corner = [
            max(0, min(int(along) - size // 2, length - size))
            for along, size, length in zip(centre, patch, labels.shape, strict=True)
        ]
        return tuple(slice(start, start + size) for start, size in zip(corner, patch, strict=True))

    def _parted(self, names: set[str], epoch: int, index: int) -> tuple[set[str], set[str]]:
        """Return which modalities of a sample are given to the network and which it shall make."""
        there = names & {*self.inputs, *self.targets}
        there |= set(self.targets) if self.makes_labels else set()
        generator = np.random.default_rng([self.seed, epoch, index, _HIDE])
        given = there & set(self.inputs)
        if generator.random() < self.settings.hide_inputs or not set(self.targets) & (there - given):
            given = self._some(sorted(given, key=self.inputs.index), there, generator)
        return given, (set(self.targets) & there) - given

    def _complete(self, tensors: dict[str, torch.Tensor], given: set[str], wanted: set[str]) -> None:
        """Fill in what a case lacks with -1, and say what is given and what is wanted."""
        first = next(tensor for name, tensor in tensors.items() if name not in (REGION, LABELS))
        for name in (*self.inputs, *self.targets):
            if name not in tensors and not (self.makes_labels and name in self.targets):
                channels = self.channels.get(name, 1) * (2 * self.neighbours + 1 if name in self.inputs else 1)
                tensors[name] = first.new_full((channels, *first.shape[1:]), -1.0)
        tensors[GIVEN] = torch.tensor([float(name in given) for name in self.inputs])
        tensors[WANTED] = torch.tensor([float(name in wanted) for name in self.targets])

    def _some(self, given: list[str], there: set[str], generator: np.random.Generator) -> set[str]:
        """Draw one of all subsets of inputs that leave a target to be made."""
        subsets = [
            set(chosen)
            for size in range(1, len(given) + 1)
            for chosen in combinations(given, size)
            if (set(self.targets) & there) - set(chosen)
        ]
        return subsets[int(generator.integers(len(subsets)))] if subsets else set(given)


def _alike(one: tuple[float, ...] | None, other: tuple[float, ...] | None) -> bool:
    """Return whether pixels are of one size, within 2 %."""
    if one is None or other is None:
        return one is other
    return bool(np.allclose(one, other, rtol=0.02))


def slices_around(stack: npt.NDArray[Any], sample: int, neighbours: int) -> npt.NDArray[Any]:
    """Return a slice with its neighbours along the channels: (S, C, H, W) → ((2k+1)·C, H, W), edges repeated."""
    low, high = sample - neighbours, sample + neighbours + 1
    if low >= 0 and high <= len(stack):
        part = stack[low:high]  # a view: a mapped array stays one
    else:
        part = stack[np.clip(np.arange(low, high), 0, len(stack) - 1)]
    return part.reshape(-1, *stack.shape[2:])


def _padded(array: npt.NDArray[Any], shape: tuple[int, ...], value: float) -> npt.NDArray[np.float32]:
    """Put an image that is smaller than a patch into its middle, on background."""
    padded = np.full((len(array), *shape), value, np.float32)
    starts = [(size - length) // 2 for size, length in zip(shape, array.shape[1:], strict=True)]
    inner = (slice(start, start + length) for start, length in zip(starts, array.shape[1:], strict=True))
    padded[(slice(None), *inner)] = array
    return padded


def _foreground_voxel(
    stored: dict[str, npt.NDArray[Any]], sample: int, generator: np.random.Generator
) -> npt.NDArray[np.intp] | None:
    """Draw a labelled voxel of a class drawn first, or one in the region; None where there is neither."""
    if LABELS in stored:
        labels = stored[LABELS][sample, 0]
        places = np.flatnonzero(labels)
        if len(places):
            values = np.asarray(labels).reshape(-1)[places]
            classes = np.unique(values)
            chosen = places[values == classes[int(generator.integers(len(classes)))]]
            place = chosen[int(generator.integers(len(chosen)))]
            return np.array(np.unravel_index(int(place), labels.shape))
    if REGION in stored:
        region = stored[REGION][sample, 0]
        for _ in range(64):  # by trial: no list of a million places for one of them
            place = generator.integers(region.shape)
            if region[tuple(place)]:
                return place
    return None
