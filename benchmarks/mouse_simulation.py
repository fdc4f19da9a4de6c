"""Seconds to simulate one pair of 512 x 1024 pixels on one core, images written to memory only."""

import os
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")

import cv2
import numpy as np

from transmodal.simulation.mouse import simulate_pair
from transmodal.simulation.mouse.protocol import Settings, acquisition_of, animal_of


def main(pairs: int = 12) -> None:
    """Print the seconds of each pair and their median, after one to warm up."""
    cv2.setNumThreads(1)
    settings = Settings(pairs, 1, 512, 1024, 0)
    seconds = []
    for number in range(pairs + 1):
        animal, acquisition = animal_of(settings, number + 1), acquisition_of(number + 1, 1)
        start = time.process_time()
        simulate_pair(animal, acquisition)
        seconds.append(time.process_time() - start)
    print(" ".join(f"{value:.2f}" for value in seconds[1:]))
    print(f"median {np.median(seconds[1:]):.2f} s of CPU time a pair of 512 x 1024")


if __name__ == "__main__":
    main()
