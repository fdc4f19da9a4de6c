"""Recipes as tests change them."""

import copy
from typing import Any

from transmodal.training.recipe import Recipe


def changed(content: dict[str, Any], **changes: Any) -> Recipe:
    """Return the recipe of a content with dotted changes, `segmentation__classes`; the content stays as it is."""
    content = copy.deepcopy(content)
    for name, value in changes.items():
        *places, last = name.split("__")
        part = content
        for place in places:
            part = part.setdefault(place, {})
        part[last] = value
    return Recipe.model_validate(content)
