"""The learning rate over a training: constant, then in a line to zero (pix2pix: 100 + 100 epochs)."""


def rate_factor(progress: float, constant_share: float) -> float:
    """Return the factor on the learning rate.

    Args:
        progress: share of the training that is over, 0 to 1; of its steps, or of its time when that is limited.
        constant_share: share of the training at factor 1.
    """
    if progress <= constant_share or constant_share >= 1.0:  # progress passes 1 where the time is limited
        return 1.0
    return max(0.0, (1.0 - progress) / (1.0 - constant_share))
