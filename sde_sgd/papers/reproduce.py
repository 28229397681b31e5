"""Running a paper: its experiments one after the other, the table, the figure and the file."""

import pathlib
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

from sde_sgd._core import checks
from sde_sgd.analysis import claims_dataset, format_claims
from sde_sgd.papers.paper import Findings, Paper
from sde_sgd.run.progress import progress_bar

if TYPE_CHECKING:
    import xarray


def reproduce(paper: Paper, size: Any, out: pathlib.Path, *, seed: int = 0) -> "xarray.Dataset":
    """Run a paper, print its claims, write ``<name>.nc`` and ``<name>.png`` to ``out`` and say where.

    Parameters
    ----------
    paper
        What to run, from `papers.load`.
    size
        ``paper.full``, ``paper.quick``, or one's own.
    out
        Folder; made if it is missing.
    seed
        Seed of the run's key.

    Returns
    -------
    xarray.Dataset
        What the file holds: the claims over the dim ``claim``, and the data of every experiment under names that begin
        with that of the experiment.

    Raises
    ------
    ValueError, TypeError, OSError
        If the seed is out of range or the files cannot be written, before anything is run.
    """
    from sde_sgd.results import check_writable, save
    from sde_sgd.results.provenance import provenance

    checks.integer("seed", seed, minimum=0, maximum=2**32 - 1)
    out.mkdir(parents=True, exist_ok=True)
    data_path, figure_path = out / f"{paper.name}.nc", out / f"{paper.name}.png"
    check_writable(data_path)
    check_writable(figure_path)
    key = jax.random.key(seed)
    found = _run(paper, size, key)
    claims = [claim for findings in found.values() for claim in findings.claims]
    print(f"\n{paper.title}\n\n{format_claims(claims)}")
    attrs = provenance({"paper": paper.title, "size": size}, key, dtype=jnp.float32, tile_size=None)
    dataset = _together(found).merge(claims_dataset(claims)).assign_attrs(attrs)
    save(dataset, data_path)
    paper.figure({name: findings.data for name, findings in found.items()}).savefig(figure_path, dpi=200)
    print(f"\nwrote {data_path} and {figure_path}")
    return dataset


def _run(paper: Paper, size: Any, key: Any) -> dict[str, Findings]:
    """Run the experiments; each has its own key, a function of the run's and its place."""
    found = {}
    with progress_bar(len(paper.experiments), f"reproduce {paper.name}", None, "experiments") as report:
        for place, (name, experiment) in enumerate(paper.experiments.items()):
            found[name] = experiment(size, jax.random.fold_in(key, place))
            report(1)
    return found


def _together(found: dict[str, Findings]) -> "xarray.Dataset":
    """Return the data of all experiments in one dataset, every name with that of its experiment in front."""
    import xarray

    together = xarray.Dataset()
    for name, (_, data) in found.items():
        bare = data.drop_attrs(deep=False)
        together = together.merge(bare.rename({old: f"{name}.{old}" for old in {*bare.variables, *bare.sizes}}))
    return together
