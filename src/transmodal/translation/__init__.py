"""Apply a translator to files, folders and volumes."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transmodal.translation.translator import Translator, load_translator

__all__ = ["Translator", "load_translator"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from transmodal.translation import translator

        return getattr(translator, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
