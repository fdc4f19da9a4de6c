"""Small nuclear acquisitions as files: counts, a series in memory, an NM object, a PET object."""

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset

from transmodal.images.image import picture_affine
from transmodal.images.nuclear import Injection, NuclearSeries
from transmodal.images.nuclear.isotopes import ISOTOPES

SHAPE = (6, 8)
_OF_DRUG = ("RadiopharmaceuticalStartDateTime", "RadionuclideHalfLife")
_OF_WINDOW = ("EnergyWindowLowerLimit", "EnergyWindowUpperLimit")


def counts(frames: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).poisson(20, (frames, *SHAPE)).astype(np.uint16)


def series(frames: int = 3, **more: Any) -> NuclearSeries:
    said: dict[str, Any] = {
        "starts": np.arange(frames) * 60.0,
        "durations": np.full(frames, 60.0),
        "isotope": ISOTOPES["Tc-99m"],
        "injection": Injection(20e6, -600.0, 1e6, 120.0),
        "sensitivity": 210.0,
        "agent": "99mTc-MDP",
        "energy_window": (126.0, 154.0),
        "saturation": 65535.0,
    }
    return NuclearSeries(counts(frames), picture_affine((1.5, 2.0)), **(said | more))


def nm(path: Path, frames: int = 4, **more: Any) -> Path:
    """Write an NM object: two phases of two frames, one window, one detector; `more` changes attributes."""
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    made.SOPClassUID = made.file_meta.MediaStorageSOPClassUID = pydicom.uid.NuclearMedicineImageStorage
    made.SOPInstanceUID = made.file_meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid(None)
    made.Modality, made.ImageType = "NM", ["ORIGINAL", "PRIMARY", "DYNAMIC", "EMISSION"]
    made.Rows, made.Columns, made.NumberOfFrames = *SHAPE, frames
    made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
    made.BitsAllocated = made.BitsStored = 16
    made.HighBit, made.PixelRepresentation = 15, 0
    made.PixelSpacing = [1.5, 2.0]
    made.AcquisitionDate, made.AcquisitionTime = "20240301", "101000.500000"
    phases = []
    for delay, duration, pause in ((0, 10000, 0), (5000, 60000, 1000)):
        phase = Dataset()
        phase.PhaseDelay, phase.ActualFrameDuration, phase.PauseBetweenFrames = delay, duration, pause
        phase.NumberOfFramesInPhase = 2
        phases.append(phase)
    made.PhaseInformationSequence = phases
    made.PhaseVector, made.TimeSliceVector = [1, 1, 2, 2][:frames], [1, 2, 1, 2][:frames]
    made.EnergyWindowVector = made.DetectorVector = [1] * frames
    limits, window = Dataset(), Dataset()
    limits.EnergyWindowLowerLimit, limits.EnergyWindowUpperLimit = 126.0, 154.0
    window.EnergyWindowRangeSequence = [limits]
    made.EnergyWindowInformationSequence = [window]
    drug, code = Dataset(), Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "C-163A8", "SRT", "^99m^Technetium"
    drug.RadionuclideCodeSequence = [code]
    drug.Radiopharmaceutical, drug.RadiopharmaceuticalStartTime = "MDP", "100000"
    drug.RadionuclideTotalDose = 18.5
    made.RadiopharmaceuticalInformationSequence = [drug]
    for name, value in more.items():
        holder = {
            **dict.fromkeys(("CodeMeaning", "CodeValue"), code),
            **dict.fromkeys(_OF_DRUG, drug),
            **dict.fromkeys(_OF_WINDOW, limits),
        }
        target = drug if name in drug else holder.get(name, made)
        if value is None:
            delattr(target, name)
        else:
            setattr(target, name, value)
    made.PixelData = counts(frames).tobytes()
    made.save_as(path, enforce_file_format=True)
    return path


def nm_of_windows(path: Path, *windows: tuple[tuple[float, float], ...], **more: Any) -> Path:
    """Write an NM object of four frames, counted in turn in windows of one or several ranges, keV."""
    numbers = [1 + frame % len(windows) for frame in range(4)]
    said: dict[str, Any] = {"PhaseVector": None, "ActualFrameDuration": 30000, "EnergyWindowVector": numbers}
    made = pydicom.dcmread(nm(path, **(said | more)))
    made.EnergyWindowInformationSequence = []
    for ranges in windows:
        window = Dataset()
        window.EnergyWindowRangeSequence = []
        for low, high in ranges:
            limits = Dataset()
            limits.EnergyWindowLowerLimit, limits.EnergyWindowUpperLimit = low, high
            window.EnergyWindowRangeSequence.append(limits)
        made.EnergyWindowInformationSequence.append(window)
    made.save_as(path)
    return path


def pet(path: Path, **more: Any) -> Path:
    """Write a PET object of one frame of counts; doses are in Bq."""
    said: dict[str, Any] = {
        "Modality": "PT",
        "SOPClassUID": pydicom.uid.PositronEmissionTomographyImageStorage,
        "ImageType": ["ORIGINAL", "PRIMARY"],
        "SeriesType": ["STATIC", "IMAGE"],
        "Units": "CNTS",
        "DecayCorrection": "NONE",
        "RadionuclideTotalDose": 18.5e6,
        "EnergyWindowLowerLimit": 350.0,
        "EnergyWindowUpperLimit": 650.0,
        "CodeMeaning": "Fluorine F^18^",
        "CodeValue": "C-111A1",
    }
    return nm(path, 1, **(said | more))
