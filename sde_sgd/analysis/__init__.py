"""What datasets say, each number with its standard error. Reads labelled datasets; runs nothing."""

from sde_sgd.analysis.table import comparison_table, format_table
from sde_sgd.analysis.tails import hill, tail_index
from sde_sgd.analysis.weak_error import weak_error, weak_order

__all__ = ["comparison_table", "format_table", "hill", "tail_index", "weak_error", "weak_order"]
