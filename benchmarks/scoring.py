"""Scoring many slices: memory for 1 000 and for 10 000, and one worker against two, through `transmodal score`.

    python benchmarks/scoring.py [--files 1000] [--copies 10] [--rounds 3]

Writes FILES pairs of 256×256 16-bit PNG into a temporary folder and links each COPIES times (a slice scored twice costs
as much as two slices). Every run is a process of its own, so that its peak memory is its own: the largest resident set
of the process and, beside it, of its largest worker. Runs with one and two workers alternate; the ratio is of the wall
times within a round, and stands beside that of the longest way through the processes, which a busy machine disturbs
less.
"""

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
from scipy.ndimage import gaussian_filter

from transmodal.evaluation.folders import score_matched
from transmodal.evaluation.matching import match
from transmodal.evaluation.parallel import start_early
from transmodal.images import Image, picture_affine, write
from transmodal.metrics.policy import Policy

SIDE = 256
METRICS = "mse,mae,nrmse,psnr,ssim"


def make(folder: Path, files: int, copies: int) -> None:
    """Write the files once and link them under further names, into folders of FILES and of FILES × COPIES."""
    generator = np.random.default_rng(0)
    for number in range(files):
        truth = gaussian_filter(generator.normal(size=(SIDE, SIDE)), 3)
        truth = (truth - truth.min()) / np.ptp(truth) * 60000
        made = np.clip(truth + generator.normal(0, 800, truth.shape), 0, 65535)
        for name, pixels in (("truth", truth), ("made", made)):
            path = folder / "few" / name / f"slice{number:05d}.png"
            write(Image(np.rint(pixels).astype(np.uint16), picture_affine((1, 1))), path)
            many = folder / "many" / name
            many.mkdir(parents=True, exist_ok=True)
            for copy in range(copies):
                os.link(path, many / f"slice{number:05d}_{copy}.png")


def score(folder: Path, workers: int, metrics: str = METRICS) -> tuple[float, float, float, float, float]:
    """Return seconds of wall, of all processors and of the longest way, and peak MiB of the process and a worker.

    The longest way is the processor time of the main process and of its busiest worker: what the run would take on a
    machine with nothing else to do.
    """
    code = (
        "import json, resource, sys\n"
        "from transmodal.cli import main\n"
        "if __name__ == '__main__':\n"
        "    try:\n"
        "        main(sys.argv[1:])\n"
        "    except SystemExit as end:\n"
        "        own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "        print(json.dumps([own, end.code]), file=sys.stderr)\n"
    )
    program = folder.parent / "score.py"
    program.write_text(code)
    command = [sys.executable, str(program), "score", str(folder / "made"), str(folder / "truth"), "--range", "0"]
    command += ["65535", "--metrics", metrics, "--workers", str(workers)]
    start = time.perf_counter()
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    used: dict[int, float] = {}
    peak: dict[int, float] = {}
    while running.poll() is None:
        for process in (psutil.Process(running.pid), *psutil.Process(running.pid).children(recursive=True)):
            with contextlib.suppress(psutil.Error):
                used[process.pid] = sum(process.cpu_times()[:2])
                peak[process.pid] = max(peak.get(process.pid, 0), process.memory_info().rss / 2**20)
        time.sleep(0.5)  # looking at processes takes time of the processors too
    wall = time.perf_counter() - start
    errors = running.stderr.read() if running.stderr else ""
    own, status = json.loads(errors.splitlines()[-1])
    if status:
        raise SystemExit(errors)
    others = [seconds for pid, seconds in used.items() if pid != running.pid]
    longest = used[running.pid] + max(others, default=0.0)
    workers_peak = max((value for pid, value in peak.items() if pid != running.pid), default=0.0)
    return wall, sum(used.values()), longest, own / 1024, workers_peak


def scaling(folder: Path, rounds: int) -> None:
    """Time the scoring of a folder alone, without the start of Python and of its libraries, in turn."""
    systems, truth = {"predicted": folder / "made"}, folder / "truth"
    matched = match(systems, truth, None)
    policy = Policy(range=(0, 65535), mask="none", sets=(), metrics=tuple(METRICS.split(",")))
    start_early()
    ratios = []
    for _ in range(rounds):
        seconds = []
        for workers in (1, 2):
            start = time.perf_counter()
            score_matched(matched, policy, workers=workers, processes=workers > 1)
            seconds.append(time.perf_counter() - start)
        ratios.append(seconds[0] / seconds[1])
        print(f"scoring alone: 1 worker {seconds[0]:.1f} s, 2 workers {seconds[1]:.1f} s: {ratios[-1]:.2f}x")
    print(f"median {statistics.median(ratios):.2f}x")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--copies", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--metrics", default=METRICS)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        make(folder, options.files, options.copies)
        few, many = options.files, options.files * options.copies
        score(folder / "few", 1)  # compiles the kernels
        for workers in (1, 2):
            peaks = {}
            for name, number in (("few", few), ("many", many)):
                wall, used, _, own, worker = score(folder / name, workers, options.metrics)
                peaks[name] = own
                print(
                    f"{number:6d} slices, {workers} worker{'s' * (workers > 1)}: {wall:6.1f} s ({used:6.1f} s of "
                    f"processors, {1e3 * used / number:.2f} ms a slice), peak {own:6.1f} MiB, worker {worker:6.1f} MiB"
                )
            print(f"       {peaks['many'] - peaks['few']:+.1f} MiB for {many - few} slices more")
        ratios = []
        for _ in range(options.rounds):
            one, two = (score(folder / "many", workers, options.metrics) for workers in (1, 2))
            ratios.append(one[0] / two[0])
            print(f"{many} slices: 1 worker {one[0]:.1f} s, 2 workers {two[0]:.1f} s: {ratios[-1]:.2f}x "
                  f"(longest way {one[2]:.1f} s and {two[2]:.1f} s: {one[2] / two[2]:.2f}x)")  # fmt: skip
        print(f"the command, start included: median {statistics.median(ratios):.2f}x")
        scaling(folder / "many", options.rounds)


if __name__ == "__main__":
    main()
