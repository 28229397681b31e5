"""What datasets say, each number with its standard error. Reads labelled datasets; runs nothing."""

from sde_sgd.analysis.claims import Claim, Relation, Verdict, claims_dataset, format_claims
from sde_sgd.analysis.table import comparison_table, format_table
from sde_sgd.analysis.weak_error import weak_error, weak_order

__all__ = [
    "Claim",
    "Relation",
    "Verdict",
    "claims_dataset",
    "comparison_table",
    "format_claims",
    "format_table",
    "weak_error",
    "weak_order",
]
