"""Scores that carry how they were made: of a run, of two folders, per case, per group, with intervals over subjects."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transmodal.evaluation.folders import score
    from transmodal.evaluation.run import evaluate
    from transmodal.evaluation.scores import Scores

_HOMES = {"Scores": "scores", "evaluate": "run", "score": "folders"}

__all__ = ["Scores", "evaluate", "score"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"transmodal.evaluation.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'transmodal.evaluation' has no attribute {name!r}")
