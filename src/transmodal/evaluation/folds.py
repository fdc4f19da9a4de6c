"""The folds of a cross-validation as one evaluation: every subject once, with the translator that did not see it.

Means and intervals are over all subjects, never over the folds' means: folds share most of their training subjects, so
that their means are no independent evidence (Bengio and Grandvalet, "No Unbiased Estimator of the Variance of K-Fold
Cross-Validation", JMLR 5, 2004).
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pandas

from transmodal.evaluation.scores import KEYS, Scores

FOLD = "fold"


def pool_folds(scores: Mapping[str, Scores]) -> Scores:
    """Return the scores of all folds as one, with the factor `fold`.

    Args:
        scores: name of a fold → its scores, all under one policy. Set-level scores are taken from the last, which must
            have gathered those of all.
    """
    parts = list(scores.values())
    first, last = parts[0], parts[-1]
    factors = list(dict.fromkeys([FOLD, *(name for part in parts for name in part.factors)]))
    tables = [part.table.assign(**{FOLD: name}) for name, part in scores.items()]
    table = pandas.concat(tables, ignore_index=True)
    table[factors] = table[factors].fillna("")
    return replace(
        first,
        table=table[[*KEYS, *factors, *first.columns]],
        factors=tuple(factors),
        failed=tuple(failure for part in parts for failure in part.failed),
        sets=last.sets,
        not_in_baselines=tuple(dict.fromkeys(bad for part in parts for bad in part.not_in_baselines)),
        slices=_joined([part.slices for part in parts]),
        truths=_joined([part.truths for part in parts]),
        lesions=_joined([part.lesions for part in parts]),
        slice_values={key: values for part in parts for key, values in part.slice_values.items()},
    )


def _joined(tables: Sequence[pandas.DataFrame]) -> pandas.DataFrame:
    filled = [table for table in tables if len(table)]
    return pandas.concat(filled, ignore_index=True) if filled else tables[0]
