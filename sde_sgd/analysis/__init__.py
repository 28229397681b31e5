"""What datasets say, each number with its standard error. Reads labelled datasets; runs nothing."""

from sde_sgd.analysis.claims import Claim, Relation, Verdict, claims_dataset, format_claims
from sde_sgd.analysis.escape_time import escape_time
from sde_sgd.analysis.survival import survival
from sde_sgd.analysis.table import comparison_table, format_table
from sde_sgd.analysis.tails import hill, tail_index
from sde_sgd.analysis.weak_error import weak_error, weak_order

__all__ = [
    "Claim",
    "Relation",
    "Verdict",
    "claims_dataset",
    "comparison_table",
    "escape_time",
    "format_claims",
    "format_table",
    "hill",
    "survival",
    "tail_index",
    "weak_error",
    "weak_order",
]
