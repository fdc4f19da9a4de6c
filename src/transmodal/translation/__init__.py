"""Apply a translator to files, folders and volumes."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transmodal.translation.model_folder import load_translator
    from transmodal.translation.translator import Translator

__all__ = ["Translator", "load_translator"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from transmodal.translation import model_folder

        return getattr(model_folder, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
