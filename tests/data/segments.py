"""DICOM segmentations as other programs write them: without the frames in which nothing is segmented."""

from pathlib import Path

import numpy as np
import pydicom


def drop_empty_frames(path: Path) -> None:
    """Write a segmentation again without its empty frames."""
    made = pydicom.dcmread(path)
    frames = made.pixel_array
    kept = np.flatnonzero(frames.reshape(len(frames), -1).any(1))
    made.PerFrameFunctionalGroupsSequence = [made.PerFrameFunctionalGroupsSequence[index] for index in kept]
    made.NumberOfFrames = len(kept)
    bits = np.packbits(frames[kept].reshape(-1), bitorder="little").tobytes()
    made.PixelData = bits + b"\0" * (len(bits) % 2)
    made.save_as(path)
