"""What datasets say, each number with its standard error. Reads labelled datasets; runs nothing."""

from sde_sgd.analysis.claims import Claim, Relation, Verdict
from sde_sgd.analysis.claims_table import claims_dataset, format_claims
from sde_sgd.analysis.escape_time import escape_time
from sde_sgd.analysis.grid_optimum import grid_minimum, optimal_learning_rate, tuned
from sde_sgd.analysis.hypotheses import Equivalence, Trend, equivalence_test, holm, trend_test
from sde_sgd.analysis.intervals import confidence_interval
from sde_sgd.analysis.jackknife import Measured, jackknife
from sde_sgd.analysis.regimes import Regimes, Saturation, fit_regimes, fit_saturation
from sde_sgd.analysis.survival import survival
from sde_sgd.analysis.table import comparison_table, format_table
from sde_sgd.analysis.tails import hill, tail_index
from sde_sgd.analysis.weak_error import weak_error, weak_order

__all__ = [
    "Claim",
    "Equivalence",
    "Measured",
    "Regimes",
    "Relation",
    "Saturation",
    "Trend",
    "Verdict",
    "claims_dataset",
    "comparison_table",
    "confidence_interval",
    "equivalence_test",
    "escape_time",
    "fit_regimes",
    "fit_saturation",
    "format_claims",
    "format_table",
    "grid_minimum",
    "hill",
    "holm",
    "jackknife",
    "optimal_learning_rate",
    "survival",
    "tail_index",
    "trend_test",
    "tuned",
    "weak_error",
    "weak_order",
]
