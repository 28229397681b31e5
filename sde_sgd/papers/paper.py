"""What a paper's reproduction is: named experiments that find claims and data, and one figure of the data."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import matplotlib.figure
    import xarray


class Findings(NamedTuple):
    """What one experiment finds: its claims, and the data that the figure draws."""

    claims: "Sequence[Any]"
    data: "xarray.Dataset"


@dataclasses.dataclass(frozen=True)
class Paper:
    """A paper as experiments, claims and a figure.

    Parameters
    ----------
    name
        As on the command line; also the stem of the files written.
    title
        Authors, year and title.
    experiments
        Name -> ``experiment(size, key)``, run in this order, each with a key of its own.
    figure
        ``figure(data)`` draws the data of the experiments, name -> dataset, and returns a figure outside pyplot.
    full, quick
        The size of a whole run and of one in less than a minute: numbers of lanes and steps, in a dataclass of the
        paper's own.
    """

    name: str
    title: str
    experiments: Mapping[str, Callable[[Any, Any], Findings]]
    figure: "Callable[[Mapping[str, xarray.Dataset]], matplotlib.figure.Figure]"
    full: Any
    quick: Any
