"""Reading a 512×1024 pair: decoding the PNG files with Pillow, and mapping the prepared arrays, in turn.

    OMP_NUM_THREADS=1 python benchmarks/prepared_pairs.py

Both give float32 arrays in [-1, 1]. The prepared one is touched to the last byte (summed), as a training does.
"""

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image as PillowImage

from transmodal.datasets.cache import PreparedCase, prepare_cases
from transmodal.datasets.manifest import CaseFiles
from transmodal.datasets.preparation import PreparationSettings
from transmodal.datasets.preparation_fitting import fit_preparation
from transmodal.simulation.mouse import simulate_dataset

Arrays = dict[str, npt.NDArray[np.float32]]


def decode(case: CaseFiles) -> Arrays:
    photo = np.asarray(PillowImage.open(case.files["photo"]), np.float32) / 127.5 - 1
    xray = np.asarray(PillowImage.open(case.files["xray"]), np.float32) / 32767.5 - 1
    return {"photo": photo, "xray": xray}


def read_prepared(case: PreparedCase) -> Arrays:
    return {modality: array[0] for modality, array in case.arrays().items()}


def seconds(function: Callable[[], Arrays]) -> float:
    started = time.process_time()
    function()
    return time.process_time() - started


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        from transmodal.datasets.manifest import Manifest

        manifest = simulate_dataset(Path(folder) / "mice", animals=2, poses=1, workers=1)
        cases = Manifest.read(manifest).cases(("photo", "xray"))
        preparation = fit_preparation(PreparationSettings(), cases, ("photo", "xray"), 2)
        prepared = prepare_cases(cases, preparation, ("photo", "xray"), Path(folder) / "cache")[0]
        rows = []
        for _ in range(50):
            peer = seconds(lambda: decode(cases[0]))
            mapped = seconds(lambda: read_prepared(prepared))
            copied = seconds(lambda: {name: np.array(array) for name, array in read_prepared(prepared).items()})
            rows.append((peer, mapped, copied))
        peer, mapped, copied = (statistics.median(column) for column in zip(*rows, strict=True))
        print("one 512×1024 pair (8-bit RGB photograph, 16-bit X-ray), one core")
        print(f"  decode with Pillow        {1e3 * peer:8.3f} ms")
        print(
            f"  map the prepared arrays   {1e3 * mapped:8.3f} ms   {statistics.median(r[0] / r[1] for r in rows):6.0f}×"
        )
        print(
            f"  map and copy to memory    {1e3 * copied:8.3f} ms   {statistics.median(r[0] / r[2] for r in rows):6.0f}×"
        )


if __name__ == "__main__":
    main()
