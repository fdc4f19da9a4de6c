"""transmodal: learn to turn one kind of biomedical image into another, prove how good it is, use it.

    import transmodal as tm

    image = tm.read("photo.png", spacing=0.0977)
    run = tm.train("photo-to-xray", "manifest.csv", "runs/first")
    scores = tm.evaluate(run)
    xray = tm.load_translator("runs/first/model")(image)
    tm.write(xray, "xray.png")

Importing this is quick; torch and the rest are loaded when first needed.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from transmodal.errors import UserError

if TYPE_CHECKING:
    from transmodal.datasets.manifest import Manifest
    from transmodal.evaluation import Scores, evaluate, score
    from transmodal.images import Image, read, write
    from transmodal.training.recipe import Recipe
    from transmodal.training.recipe_loading import load_recipe
    from transmodal.training.run import Run
    from transmodal.training.train import train
    from transmodal.translation import Translator, load_translator

__version__ = "0.1.0"

_HOMES = {
    "Image": "transmodal.images",
    "read": "transmodal.images",
    "write": "transmodal.images",
    "Manifest": "transmodal.datasets.manifest",
    "Recipe": "transmodal.training.recipe",
    "load_recipe": "transmodal.training.recipe_loading",
    "Run": "transmodal.training.run",
    "train": "transmodal.training.train",
    "Translator": "transmodal.translation",
    "load_translator": "transmodal.translation",
    "Scores": "transmodal.evaluation",
    "evaluate": "transmodal.evaluation",
    "score": "transmodal.evaluation",
}

__all__ = [
    "Image",
    "Manifest",
    "Recipe",
    "Run",
    "Scores",
    "Translator",
    "UserError",
    "evaluate",
    "load_recipe",
    "load_translator",
    "read",
    "score",
    "train",
    "write",
]


def __dir__() -> list[str]:
    return [*__all__, "__version__"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'transmodal' has no attribute {name!r}")
