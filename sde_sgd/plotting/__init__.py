"""Figures for papers. Each function draws a dataset and returns the axes; none shows, saves or sets a global style.

Sizes are those of a column (3.4 inches) or a page (7 inches), with text of 7 and 8 points: figures go in unscaled.
"""

from sde_sgd.plotting.comparison import compare_figure
from sde_sgd.plotting.curves import risk_curves, risk_grid
from sde_sgd.plotting.errors import weak_error_plot
from sde_sgd.plotting.escape import escape_figure, plot_escape_times, plot_survival
from sde_sgd.plotting.landscape import plot_landscape
from sde_sgd.plotting.slices import path_plot, plane_plot

__all__ = [
    "compare_figure",
    "escape_figure",
    "path_plot",
    "plane_plot",
    "plot_escape_times",
    "plot_landscape",
    "plot_survival",
    "risk_curves",
    "risk_grid",
    "weak_error_plot",
]
