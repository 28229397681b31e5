"""What all figures share: sizes, colours, legends. Text has 7 and 8 points, widths are those of a column and a page."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import matplotlib.axes
    import xarray

COLUMN, PAGE = 3.4, 7.0  # widths in inches
_STYLE: dict[Any, Any] = {
    "font.size": 8, "axes.labelsize": 8, "axes.titlesize": 8, "legend.fontsize": 7.5, "xtick.labelsize": 7,
    "ytick.labelsize": 7, "lines.linewidth": 1.2, "lines.markersize": 3.6, "axes.linewidth": 0.6,
    "xtick.major.width": 0.6, "ytick.major.width": 0.6, "xtick.minor.width": 0.4, "ytick.minor.width": 0.4,
    "axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False, "legend.handlelength": 2.6,
    "figure.dpi": 200}
# Okabe and Ito's colours, told apart with any colour vision. The first process is solid and lies below the others,
# whose gaps let it through where curves coincide.
_MARKS: tuple[tuple[str, Any, str], ...] = (
    ("#000000", "-", "o"), ("#E69F00", (0, (1, 1)), "s"), ("#0072B2", (0, (5, 2)), "^"),
    ("#D55E00", (0, (5, 1.5, 1, 1.5)), "D"), ("#009E73", (0, (2, 2)), "v"), ("#CC79A7", (0, (8, 3)), "P"),
    ("#56B4E9", (0, (3, 1, 1, 1, 1, 1)), "h"))
LOST: dict[str, Any] = {"marker": "x", "linestyle": "none", "clip_on": False, "label": "diverged"}


def marks() -> tuple[tuple[str, Any, str], ...]:
    """Return colours, line styles and markers in the order in which curves take them."""
    return _MARKS


def marked(data: Any) -> list[tuple[str, tuple[str, Any, str]]]:
    """Return every process with its colour, line style and marker."""
    return [(str(name), _MARKS[index % len(_MARKS)]) for index, name in enumerate(data.process.values)]


def legend_handle(properties: dict[str, Any]) -> Any:
    """Return an entry of a legend, grey and without a line unless the properties say otherwise."""
    from matplotlib.lines import Line2D

    defaults: dict[str, Any] = {"color": "0.4", "linestyle": "none"}
    return Line2D([], [], **(defaults | properties))


def process_handles(data: Any, *, markers: bool = True, omit: str = "") -> list[Any]:
    """Return the legend entries of the processes."""
    return [legend_handle({"color": colour, "linestyle": line, "marker": marker if markers else "", "label": name})
            for name, (colour, line, marker) in marked(data) if name != omit]


def lost_handles(values: "xarray.DataArray") -> list[Any]:
    """Return the legend entry of diverged lanes, where there are any."""
    return [legend_handle(LOST)] if values.isnull().any() else []


def draw_lost(ax: "matplotlib.axes.Axes", places: np.ndarray, colour: str, mark: Mapping[str, Any] = LOST) -> None:
    """Mark cells without a number at the top of the axes."""
    if places.size:
        ax.plot(places, np.full(places.size, 0.96), color=colour, transform=ax.get_xaxis_transform(), **mark)


def tick_labels(rates: "xarray.DataArray") -> list[str]:
    """Return tick labels, every second one or fewer where there are many."""
    every = -(-rates.size // 7)
    return [f"{rate:g}" if index % every == 0 else "" for index, rate in enumerate(rates.values[::-1])][::-1]


def add_legend(ax: "matplotlib.axes.Axes", handles: list[Any], *, num_columns: int, above: bool) -> None:
    """Put a legend above the figure, or within axes that the caller owns."""
    if above:
        ax.figure.legend(handles=handles, loc="outside upper center", ncols=num_columns)
    else:
        ax.legend(handles=handles)


def paper_style() -> Any:
    """Return the context in which figures are drawn."""
    import matplotlib

    return matplotlib.rc_context(_STYLE)


def new_axes(num_rows: int, num_columns: int, width: float, height: float, *, shared: bool = True) -> np.ndarray:
    """Return the axes of a new figure; unless not ``shared``, columns share time and all share the ordinate."""
    import matplotlib.pyplot as plt

    sharing = {"sharex": "col", "sharey": True} if shared else {}
    return plt.subplots(num_rows, num_columns, **sharing, figsize=(width, height), layout="constrained",
                        squeeze=False)[1]
