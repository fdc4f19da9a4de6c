"""What the folders of simulated data sets have in common: settings that stay, and workers that share the rest."""

import json
import multiprocessing
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

from transmodal.errors import UserError
from transmodal.images.files import write_text
from transmodal.images.note import NOTICE

SETTINGS = "simulation.json"


def write_label_names(path: Path, names: Mapping[str, Any]) -> Path:
    """Write what the values of a simulation's label maps mean, with the mark of what is synthetic; return the path."""
    marked = {"synthetic": True, "notice": f"{NOTICE} Labels of a simulation.", **names}
    return write_text(path, json.dumps(marked, indent=2, ensure_ascii=False) + "\n")


def claim(folder: Path, ours: Mapping[str, Any]) -> None:
    """Leave the settings of a simulation in its folder, or find that they are there already.

    Args:
        folder: of the data set; made if absent.
        ours: what JSON can hold and gives back as it was.

    Raises:
        UserError: the folder holds a simulation with other settings, or a file that cannot be read.
    """
    file = folder / SETTINGS
    try:
        theirs = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        write_text(file, json.dumps(ours, indent=2) + "\n")
        return
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read {file}: {error}; choose another folder or remove the file") from error
    if theirs == ours:
        return
    theirs = theirs if isinstance(theirs, dict) else {}
    different = [
        f"{name} {theirs.get(name)} instead of {value}" for name, value in ours.items() if theirs.get(name) != value
    ]
    raise UserError(
        f"{folder} holds a simulation with other settings ({', '.join(different) or 'more entries'}): "
        "give the same settings to go on with it, or choose another folder"
    )


def make_all(
    make: Callable[..., object],
    jobs: Sequence[tuple[Any, ...]],
    *,
    folder: Path,
    workers: int | None,
    prepare_process: Callable[[], None] | None = None,
    memory: str = "",
) -> Iterator[None]:
    """Call a function once a job, in this process or in several, and yield after each.

    Args:
        make: at the top level of a module, so that other processes find it.
        jobs: its arguments.
        folder: named where a process dies.
        workers: processes; None takes one a CPU. They are spawned.
        prepare_process: called first in each of several processes.
        memory: what a worker takes, for the hint where one dies, for example "1 GB a worker at full size".

    Raises:
        UserError: a process died; what is finished stays.
    """
    count = min(workers or os.cpu_count() or 1, max(len(jobs), 1))
    if count == 1:
        for job in jobs:
            make(*job)
            yield
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(count, mp_context=context, initializer=prepare_process) as pool:
        futures = [pool.submit(make, *job) for job in jobs]
        try:
            for future in as_completed(futures):
                future.result()
                yield
        except BrokenProcessPool as error:
            hint = f" ({memory})" if memory else ""
            raise UserError(
                f"a simulating process died in {folder}: perhaps memory ran out{hint}; run again with fewer workers to "
                "go on"
            ) from error
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
