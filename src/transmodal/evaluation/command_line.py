"""The options of the command line that make an evaluation again, for its report."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from transmodal.evaluation.asked import Asked
from transmodal.metrics.policy import Policy
from transmodal.translation.options import Options


def options_in_words(asked: Asked, own: Policy, groupings: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """Return the options of the command line that make this evaluation again.

    Args:
        asked: for.
        own: the policy of the recipe.
        groupings: that were asked for.
    """
    words: list[str] = []
    policy = asked.policy
    if (policy.metrics, policy.sets) != (own.metrics, own.sets):
        words += ["--metrics", ",".join((*policy.metrics, *(policy.sets if policy.sets != own.sets else ())))]
    if policy.slice_pixels != own.slice_pixels:
        words += ["--slice-pixels", str(policy.slice_pixels)]
    if policy.areas != own.areas:
        words += ["--areas", ",".join(f"{edge:g}" for edge in policy.areas)]
    if policy.lesions != own.lesions:
        words += ["--lesions", policy.lesions or "none"]
    if asked.given is not None:
        words += ["--given", ",".join(asked.given)]
    words += ["--beside", ",".join(asked.beside)] if asked.beside else []
    words += _translation_in_words(asked.options)
    for factors in groupings:
        words += ["--group-by", ",".join(factors)]
    files: Mapping[str, str | Path | None] = asked.files or {}
    for name, file in files.items():
        words += [] if file is None else [f"--{name.replace('_', '-')}", str(file)]
    return tuple(words)


def _translation_in_words(options: Options) -> list[str]:
    window = options.window if isinstance(options.window, str) else ",".join(map(str, options.window or ()))
    words = [] if options.flips is None else ["--flips", ",".join(map(str, options.flips)) or "none"]
    named = ",".join(f"{name}={threshold:g}" for name, threshold in options.thresholds)
    words += ["--threshold", named] if named else []
    words += ["--precision", options.precision] if options.precision != "fp32" else []
    words += ["--window", window] if window else []
    return words + (["--memory", f"{options.memory / 1e9:g}"] if options.memory is not None else [])
