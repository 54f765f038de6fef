"""Agreement of scores with human opinion: values, intervals, differences, and both protocols.

`agreement` holds the statistics, `resampling` and `kendall` the intervals, `estimates` both
together, `paired` the differences of two models, `logistic` the fitted PLCC, `correlated` the
textbook test of a difference, `scores` the rows of `eval/scores.csv`.
"""

from qponder_lib.metrics.agreement import (
    METRICS,
    DegenerateInputError,
    krcc,
    mae,
    plcc,
    rmse,
    srcc,
)
from qponder_lib.metrics.correlated import Overlapping, steiger_z, zou_interval
from qponder_lib.metrics.estimates import (
    Estimate,
    agreement,
    estimate,
    mean_over_samples,
    tau_b_terms,
)
from qponder_lib.metrics.kendall import Asymptotic, Term, combined_tau_b, mean_of_sets
from qponder_lib.metrics.logistic import LogisticFit, fit_logistic, mapped_scores, plcc_logistic
from qponder_lib.metrics.paired import (
    Difference,
    PairedStatistic,
    paired_difference,
    paired_statistic,
)
from qponder_lib.metrics.resampling import Interval, Resampling, bootstrap_interval
from qponder_lib.metrics.scores import EVALUATED, Evaluated, samples_by_id, score_rows

__all__ = [
    "EVALUATED",
    "METRICS",
    "Asymptotic",
    "DegenerateInputError",
    "Difference",
    "Estimate",
    "Evaluated",
    "Interval",
    "LogisticFit",
    "Overlapping",
    "PairedStatistic",
    "Resampling",
    "Term",
    "agreement",
    "bootstrap_interval",
    "combined_tau_b",
    "estimate",
    "fit_logistic",
    "krcc",
    "mae",
    "mapped_scores",
    "mean_of_sets",
    "mean_over_samples",
    "paired_difference",
    "paired_statistic",
    "plcc",
    "plcc_logistic",
    "rmse",
    "samples_by_id",
    "score_rows",
    "srcc",
    "steiger_z",
    "tau_b_terms",
    "zou_interval",
]
