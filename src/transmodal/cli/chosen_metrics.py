"""Which metrics and which weights of WAEM the words of a command line ask for; shared by `evaluate` and `score`."""

from pathlib import Path


def named_metrics(metrics: str | None, conventions: list[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the metrics of images and those of sets that are asked for."""
    from transmodal.datasets.manifest import nearest
    from transmodal.errors import UserError
    from transmodal.metrics import METRICS
    from transmodal.metrics import conventions as known_conventions

    known = known_conventions()
    asked = [name.strip() for name in (metrics or "").split(",") if name.strip()]
    for convention in conventions:
        if convention not in known:
            raise UserError(f"There is no convention {convention!r}; {nearest(convention, known)}")
        asked += [name for name in known[convention] if name not in asked]
    if metrics is None and not conventions:
        asked = ["mse", "mae", "nrmse", "psnr", "ssim"]
    if asked and all(name in METRICS and METRICS[name].level == "set" for name in asked):
        raise UserError(f"{asked[0]} is a score of whole sets; name a metric of images too, for example --metrics "
                        f"psnr,{asked[0]}")  # fmt: skip
    sets = tuple(name for name in asked if name in METRICS and METRICS[name].level == "set")
    return tuple(name for name in asked if name not in sets), sets


def named_weights(file: Path | None, raw: str | None) -> Path | list[float] | None:
    """Return the file of fitted weights, or the five raw ones, or None.

    Raises:
        UserError: both are given, the file is none, or one of the five is no number.
    """
    from transmodal.errors import UserError

    if file is not None and raw is not None:
        raise UserError("--waem and --waem-weights are two ways to say one thing; give one of them")
    if raw is None:
        if file is not None:
            from transmodal.evaluation.waem import Waem  # with SciPy's statistics

            Waem.load(file)  # refuse a wrong file before anything is scored
        return file
    try:
        weights = [float(part) for part in raw.split(",")]
    except ValueError as error:
        raise UserError(f"--waem-weights takes five numbers a,b,c,d,e, not {raw!r}") from error
    if len(weights) != 5:
        raise UserError(f"--waem-weights takes five numbers a,b,c,d,e and {len(weights)} were given; 0 leaves one out")
    return weights
