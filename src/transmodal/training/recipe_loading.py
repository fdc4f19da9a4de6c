"""Load a recipe from its file, lay a scale and overrides over it, and say in one line what is wrong with it.

A recipe's file may hold `scales`: named overrides (smoke, small, paper) laid over the rest. Shipped recipes lie in the
package's `recipes` folder and are named by what they do.
"""

import difflib
import io
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from transmodal.errors import UserError
from transmodal.training.recipe import Recipe
from transmodal.training.recipe_overrides import Override, as_written, merge, overrides_of, with_overrides

DEFAULT_SCALE = "small"


def shipped_recipes() -> dict[str, Path]:
    """Return the recipes in the package: name → file."""
    folder = Path(str(resources.files("transmodal") / "recipes"))
    return {file.stem: file for file in sorted(folder.glob("*.yaml"))}


def load_recipe(
    recipe: str | Path, *, scale: str | None = None, overrides: Sequence[str] | Mapping[str, Any] = ()
) -> Recipe:
    """Load a recipe.

    Overrides of `inputs` or `targets` take the intensity maps along: those of modalities that are gone are left out,
    and where those of the recipe are all alike, new modalities get the same. The description then begins with what is
    made of what, since the rest of it tells of the recipe's own modalities. An override of `supervised.network.kind`
    leaves out what the recipe says of its own network and the other kind does not have; so does one of an intensity map
    with what belongs to the recipe's own, and limits in its unit.

    Args:
        recipe: the path of a YAML file, or the name of a shipped recipe.
        scale: one of the recipe's scales; None takes `small` if the recipe has it.
        overrides: "key.sub=value" lines (values are YAML), or a mapping of dotted keys; laid over everything else.

    Raises:
        UserError: no such recipe or scale, no YAML, an unknown key (named with the nearest known one), a bad value;
            the message begins with the override that is to blame, else with the recipe.
    """
    file = _find(recipe)
    where = _called(file)
    content = _at_scale(_parse(file), scale, where)
    changes = overrides_of(overrides)
    laid_over = with_overrides(content, changes)
    try:
        return Recipe.model_validate(laid_over)
    except ValidationError as error:
        blamed = _to_blame(error, content, changes)
        raise UserError(_told(error, laid_over, where, blamed)) from error


def _at_scale(content: dict[str, Any], scale: str | None, where: str) -> dict[str, Any]:
    """Return what a file holds with one of its scales laid over the rest."""
    rest = {key: value for key, value in content.items() if key != "scales"}
    scales = content.get("scales") or {}
    if not isinstance(scales, dict) or not all(isinstance(part, dict) for part in scales.values()):
        raise UserError(f"{where}: scales must map names to settings")
    if scale is None and DEFAULT_SCALE in scales:
        scale = DEFAULT_SCALE
    if scale is None:
        return rest
    if scale not in scales:
        known = ", ".join(scales) or "none"
        raise UserError(f"{where} has no scale {scale!r}; it has {known}")
    return merge(rest, scales[scale])


def _called(file: Path) -> str:
    """Return how messages call a recipe: one that is shipped by its name, which its user knows, not by its place."""
    name = next((name for name, place in shipped_recipes().items() if place == file), None)
    return str(file) if name is None else f"The recipe {name}"


def _find(recipe: str | Path) -> Path:
    path = Path(recipe)
    shipped = shipped_recipes()
    if path.is_file():
        return path
    if str(recipe) in shipped:
        return shipped[str(recipe)]
    if path.suffix in (".yaml", ".yml"):
        raise UserError(f"There is no recipe {path}; shipped recipes: {', '.join(shipped)}")
    near = difflib.get_close_matches(str(recipe), shipped, n=1, cutoff=0.4)
    hint = f"did you mean {near[0]}?" if near else f"shipped recipes: {', '.join(shipped)}"
    raise UserError(f"There is no recipe {recipe!r}; {hint}")


def _parse(file: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(io.StringIO(file.read_text(encoding="utf-8")))
    except OSError as error:
        raise UserError(f"Cannot read {file}: {error.strerror}; check the file") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: no UTF-8, or a date like 2024-13-01
        raise UserError(f"{file} is not YAML: {error}; compare it with 'transmodal train NAME --print-recipe'") \
            from error  # fmt: skip
    if not isinstance(content, dict):
        raise UserError(f"{file} holds no recipe: it must map keys to settings")
    return content


def _to_blame(error: ValidationError, content: dict[str, Any], changes: Sequence[Override]) -> list[Override]:
    """Return the overrides that made a recipe invalid; none where it is the recipe itself."""
    location = as_written(with_overrides(content, changes), error.errors()[0]["loc"])
    direct = [change for change in changes if change.holds(location)]
    if direct:
        return direct[-1:]
    without = ([other for other in changes if other is not change] for change in changes)
    alone = [change for change, rest in zip(changes, without, strict=True) if _is_valid(with_overrides(content, rest))]
    if alone:
        return alone  # several where they contradict each other
    return list(changes) if changes and _is_valid(content) else []


def _is_valid(content: dict[str, Any]) -> bool:
    try:
        Recipe.model_validate(content)
    except ValidationError:
        return False
    return True


def _told(error: ValidationError, content: dict[str, Any], where: str, blamed: Sequence[Override]) -> str:
    """Return one line for what is wrong with a recipe."""
    problem = error.errors()[0]
    location = [str(part) for part in problem["loc"]]
    if problem["type"] != "missing":
        location = as_written(content, problem["loc"])
    key = ".".join(location)
    where = ", ".join(change.told for change in blamed) or where
    if problem["type"] == "extra_forbidden":
        known = _known_keys(Recipe, location[:-1])
        near = difflib.get_close_matches(location[-1], known, n=1, cutoff=0.4)
        hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
        return f"{where}: unknown key {key!r}; {hint}"
    given = problem["input"]
    if problem["type"] in ("tuple_type", "list_type"):
        members = given if isinstance(given, str | int | float) else "…"
        return (
            f"{where}: {key} takes a list; write it in brackets, as '{key}=[{members}]'"
            if blamed
            else (f"{where}: {key} takes a list; write it in brackets, as {key}: [{members}]")
        )
    if problem["type"] in ("model_type", "model_attributes_type") and blamed:
        first = next(iter(_known_keys(Recipe, location)), "…")
        return f"{where}: {key} has keys of its own; set one of them, as {key}.{first}=…"
    message = problem["msg"].removeprefix("Value error, ")
    shown = f" (given {given!r})" if not isinstance(given, dict) else ""
    return f"{where}: {key or 'the recipe'}: {message}{shown}"


def _known_keys(model: type[BaseModel], location: Sequence[str]) -> list[str]:
    for part in location:
        field = model.model_fields.get(part)
        annotation = field.annotation if field else None
        candidates = [annotation, *getattr(annotation, "__args__", ())]
        inner = next((c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)), None)
        if inner is not None:
            model = inner
    return list(model.model_fields)
