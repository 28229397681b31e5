"""What a paper's reproduction is: named experiments that find claims and data, and one figure of the data."""

import dataclasses
import pathlib
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
        The size of a whole run and of one in a minute, or three where networks are trained: numbers of lanes and
        steps, in a dataclass of the paper's own.
    """

    name: str
    title: str
    experiments: Mapping[str, Callable[[Any, Any], Findings]]
    figure: "Callable[[Mapping[str, xarray.Dataset]], matplotlib.figure.Figure]"
    full: Any
    quick: Any


def with_data(paper: Paper, size: Any, path: pathlib.Path) -> Any:
    """Return the size with a file of images to use; raise if the paper uses none or the file cannot be read.

    Parameters
    ----------
    paper
        The paper.
    size
        One of its sizes.
    path
        An archive as `problems.load_npz` takes it.

    Raises
    ------
    ValueError, TypeError, FileNotFoundError
        If the paper takes no images, or the file is none of such an archive.
    """
    from sde_sgd.problems import load_npz

    if not any(field.name == "data" for field in dataclasses.fields(size)):
        raise ValueError(f"{paper.name} uses no images. Leave out --data.")
    for split in ("train", "test"):
        load_npz(path, split, 1)
    return dataclasses.replace(size, data=str(path))
