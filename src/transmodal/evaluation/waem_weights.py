"""Weights of WAEM, the weighted ensemble of metrics, and how they are applied, given, saved and loaded.

The source (see `waem_terms`) publishes no weights, and none are known to be published elsewhere. Two forms exist here:

- *raw*: a/MSE + b/NRMSE + c·PSNR + d·SSIM + e/FID as the source writes it, with weights that the user gives, in the
  units of `waem_terms.UNITS`;
- *standardised*: each term minus its mean over the development systems, divided by its standard deviation over them,
  with weights ≥ 0 that sum to one: equal ("equal weights, no experts") or fitted to expert readers (`waem`).
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from transmodal.errors import UserError
from transmodal.evaluation.waem_solvers import Floats
from transmodal.evaluation.waem_terms import LETTERS, TERMS, UNITS
from transmodal.images.files import write_text

FORMAT = "transmodal-waem/1"
EQUAL = "equal weights, no experts"
GIVEN = "weights given by the user"


class MadeWith(BaseModel):
    """What the terms depend on besides the images; weights hold only where these are the same."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    data_range: float | None = None
    unit: str = ""
    nrmse: str = ""
    set_metric: Literal["fid", "fnsd"] | None = None
    features: str = ""
    n: int | None = None


class Waem(BaseModel):
    """Weights of WAEM with all that is needed to apply them.

    Attributes:
        format: of the file.
        weights: term → weight; standardised ones are ≥ 0 and sum to one.
        standardised: whether terms are centred and scaled before they are weighted.
        centre, spread: term → mean and sample standard deviation over the development systems; empty for raw weights.
        units: term → its unit before standardising.
        made_with: the circumstances of the development systems' terms.
        fitted_on: in words, where the weights come from.
        systems: the development systems, on which centre and spread (and fitted weights) were found.
        ridge: strength towards equal weights; None where nothing was fitted.
        notes: what was left out, floored or replaced.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal["transmodal-waem/1"] = "transmodal-waem/1"
    weights: dict[str, float]
    standardised: bool
    centre: dict[str, float] = {}
    spread: dict[str, float] = {}
    units: dict[str, str] = {}
    made_with: MadeWith = MadeWith()
    fitted_on: str
    systems: tuple[str, ...] = ()
    ridge: float | None = None
    notes: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _weights_can_be_applied(self) -> "Waem":
        unknown = [term for term in self.weights if term not in TERMS]
        if unknown:
            raise ValueError(f"unknown term {unknown[0]!r}; known are {', '.join(TERMS)}")
        if "1/fid" in self.weights and "1/fnsd" in self.weights:
            raise ValueError("1/fid and 1/fnsd cannot stand in one score")
        if not all(math.isfinite(weight) and weight >= 0 for weight in self.weights.values()):
            raise ValueError("weights must be finite and 0 or more")
        if not any(self.weights.values()):
            raise ValueError("at least one weight must be above 0")
        if not self.standardised:
            return self
        if not (set(self.weights) == set(self.centre) == set(self.spread)):
            raise ValueError("weights, centre and spread must name the same terms")
        if not all(math.isfinite(value) for value in self.centre.values()):
            raise ValueError("every centre must be finite")
        if not all(math.isfinite(value) and value > 0 for value in self.spread.values()):
            raise ValueError("every spread must be finite and above 0")
        if abs(sum(self.weights.values()) - 1) > 1e-6:
            raise ValueError("standardised weights must sum to one")
        return self

    @property
    def title(self) -> str:
        """ "WAEM", or "WAEM with FNSD" where FNSD stands in for FID, since the two numbers cannot be compared."""
        return "WAEM with FNSD" if self.weights.get("1/fnsd") else "WAEM"

    @property
    def label(self) -> str:
        """The title with where the weights come from."""
        return f"{self.title} ({self.fitted_on})"

    def contributions(self, terms: pandas.DataFrame) -> pandas.DataFrame:
        """Return what each term adds to each system's score, systems × terms.

        Args:
            terms: of `terms_of`; more columns than are weighted may be there.

        Raises:
            UserError: a weighted term is missing or not finite.
        """
        used = [term for term, weight in self.weights.items() if weight > 0]
        for term in used:
            if term not in terms.columns:
                raise UserError(f"{self.title} needs the term {term}, which is not there{_why_missing(term, terms)}")
        values = terms[used].astype(float)
        bad = values.index[~np.isfinite(values.to_numpy()).all(axis=1)]
        if len(bad):
            raise UserError(f"{self.title} needs finite terms; {bad[0]} has one that is not")
        if self.standardised:
            values = (values - pandas.Series(self.centre)[used]) / pandas.Series(self.spread)[used]
        return values * pandas.Series(self.weights)[used]

    def score(self, terms: pandas.DataFrame) -> pandas.Series:
        """Return one score a system, higher is better; arguments and refusals as in `contributions`.

        Standardised scores are in standard deviations of the development systems, around 0; raw ones have no unit that
        means anything beyond their weights.
        """
        parts = self.contributions(terms)
        total = parts.sum(axis=1)
        # Terms that cancel leave rounding, which is no difference between systems.
        return total.where(total.abs() > 1e-12 * parts.abs().max(axis=1), 0.0).rename(self.title)

    def cautions(self, terms: pandas.DataFrame) -> list[str]:
        """Say where the terms were made under other circumstances than those that the weights were found under."""
        here = MadeWith(**terms.attrs.get("made_with", {}))
        there = self.made_with
        names = {"data_range": "data range", "nrmse": "denominator of NRMSE", "n": "N of the set-level distance"}
        return [
            f"the {names.get(key, key)} was {getattr(there, key)} where the weights were found and is "
            f"{getattr(here, key)} here, so scores of the two cannot be compared"
            for key in ("data_range", "unit", "nrmse", "features", "n")
            if getattr(there, key) and getattr(here, key) and getattr(there, key) != getattr(here, key)
        ]

    def save(self, path: str | Path) -> Path:
        """Write a JSON file whole or not at all; return its path.

        Raises:
            UserError: the folder cannot be written.
        """
        return write_text(path, json.dumps(self.model_dump(mode="json"), indent=2, ensure_ascii=False) + "\n")

    @classmethod
    def load(cls, path: str | Path) -> "Waem":
        """Read a file that `save` wrote.

        Raises:
            UserError: there is none, or it is no such file; an unknown key is named.
        """
        path = Path(path)
        if not path.is_file():
            raise UserError(f"There is no file {path}; name the WAEM weights that 'transmodal rate analyse' wrote")
        try:
            return cls.model_validate_json(path.read_text(encoding="utf-8"))
        except (ValidationError, UnicodeDecodeError) as error:
            why = "it is not UTF-8 text"
            if isinstance(error, ValidationError):
                first = error.errors()[0]
                where = ".".join(map(str, first["loc"]))
                why = f"{where}: {first['msg']}" if where else first["msg"]
            raise UserError(f"{path} is no file of WAEM weights ({FORMAT}): {why}") from error


def given_weights(weights: Sequence[float], terms: pandas.DataFrame) -> Waem:
    """Return the raw WAEM with the user's weights.

    Args:
        weights: a, b, c, d, e for 1/MSE, 1/NRMSE, PSNR, SSIM and 1/FID, in the units of `waem_terms.UNITS`; where the
            terms hold 1/FNSD instead, e weighs that.
        terms: of `terms_of`.

    Raises:
        UserError: not five numbers, one below 0, none above 0, or a weighted term is not there.
    """
    if len(weights) != len(LETTERS):
        raise UserError(f"WAEM has {len(LETTERS)} weights a,b,c,d,e and {len(weights)} were given; give 0 to leave out")
    last = "1/fnsd" if "1/fnsd" in terms.columns else "1/fid"
    named = dict(zip(("1/mse", "1/nrmse", "psnr", "ssim", last), map(float, weights), strict=True))
    try:
        waem = Waem(
            weights={term: weight for term, weight in named.items() if weight or term in terms.columns},
            standardised=False,
            units={term: UNITS[term] for term in named if term in terms.columns},
            made_with=MadeWith(**terms.attrs.get("made_with", {})),
            fitted_on=GIVEN,
            notes=tuple(terms.attrs.get("notes", ())),
        )
    except ValidationError as error:
        message = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise UserError(f"WAEM cannot take the weights {', '.join(f'{w:g}' for w in weights)}: {message}") from error
    waem.score(terms)
    return waem


def equal_weights(terms: pandas.DataFrame, *, development: Sequence[str] | None = None) -> Waem:
    """Return equal weights on standardised terms: what stands where no experts were asked.

    Args:
        terms: of `terms_of`.
        development: the systems that centre and spread are taken over; None takes all.

    Raises:
        UserError: fewer than two systems, or no term differs between them.
    """
    rows = terms if development is None else terms.loc[list(development)]
    if len(rows) < 2:
        raise UserError("A standardised WAEM compares systems and needs two or more; compare several, or give weights")
    model = standardise(rows)
    weights = dict.fromkeys(model.names, 1.0 / len(model.names))
    return waem_of(model, weights, terms, EQUAL, None, [])


@dataclass(frozen=True)
class Standardised:
    """Standardised terms of the development systems.

    Attributes:
        names: the terms that differ between the systems.
        systems: the rows of `values`.
        values: systems × terms, each column with mean 0 and sample standard deviation 1.
        centre, spread: of each term before.
        notes: which terms were left out.
    """

    names: list[str]
    systems: list[str]
    values: Floats
    centre: Floats
    spread: Floats
    notes: list[str]

    def z(self, terms: pandas.DataFrame, system: str) -> Floats:
        """Return the standardised terms of any system."""
        return np.asarray((terms.loc[system, self.names].to_numpy(float) - self.centre) / self.spread, np.float64)


def standardise(rows: pandas.DataFrame) -> Standardised:
    """Centre and scale the terms of the development systems.

    Raises:
        UserError: a term is not finite, or none differs.
    """
    values = rows.astype(float).to_numpy()
    if not np.isfinite(values).all():
        bad = rows.index[~np.isfinite(values).all(axis=1)][0]
        raise UserError(f"WAEM needs finite terms; {bad} has one that is not")
    centre, spread = values.mean(axis=0), values.std(axis=0, ddof=1)
    differ = spread > 1e-9 * np.maximum(np.abs(centre), 1e-12)
    notes = [f"{term} is the same for all systems and is left out" for term in rows.columns[~differ]]
    if not differ.any():
        raise UserError("WAEM cannot be standardised: no term differs between the systems; compare other systems")
    z = (values[:, differ] - centre[differ]) / spread[differ]
    names = [str(term) for term in rows.columns[differ]]
    systems = [str(name) for name in rows.index]
    return Standardised(names, systems, z, centre[differ], spread[differ], notes)


def waem_of(
    model: Standardised,
    weights: dict[str, float],
    terms: pandas.DataFrame,
    source: str,
    ridge: float | None,
    notes: list[str],
) -> Waem:
    """Return a standardised WAEM with these weights, one for each of the names of `model`."""
    return Waem(
        weights=weights,
        standardised=True,
        centre=dict(zip(model.names, model.centre.tolist(), strict=True)),
        spread=dict(zip(model.names, model.spread.tolist(), strict=True)),
        units={term: UNITS[term] for term in model.names},
        made_with=MadeWith(**terms.attrs.get("made_with", {})),
        fitted_on=source,
        systems=tuple(model.systems),
        ridge=ridge,
        notes=(*terms.attrs.get("notes", ()), *model.notes, *notes),
    )


def _why_missing(term: str, terms: pandas.DataFrame) -> str:
    metric = term.removeprefix("1/").upper()
    notes = [note for note in terms.attrs.get("notes", ()) if metric in note]
    remedy = "; add --fid-weights FILE" if term == "1/fid" else ""
    return (f": {notes[0]}" if notes else "") + remedy
