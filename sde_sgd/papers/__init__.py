"""Papers reproduced: one module each with its experiments, claims and figure. ``sde-sgd reproduce PAPER`` runs them."""

import importlib

from sde_sgd._core import checks
from sde_sgd.papers.paper import Findings, Paper, with_data

# Name on the command line -> module, imported when it is asked for. The module holds its `Paper` as PAPER.
_MODULES = {
    "balance": "sde_sgd.papers.balance",
    "dai-zhu2018": "sde_sgd.papers.dai_zhu2018",
    "keskar2016": "sde_sgd.papers.keskar2016",
    "smith2020": "sde_sgd.papers.smith2020",
    "stability": "sde_sgd.papers.stability",
    "ziyin2021": "sde_sgd.papers.ziyin2021",
}

__all__ = ["Findings", "Paper", "load", "names", "with_data"]


def names() -> tuple[str, ...]:
    """Return the names of the papers that can be reproduced."""
    return tuple(sorted(_MODULES))


def load(name: str) -> Paper:
    """Return the paper of this name.

    Raises
    ------
    ValueError
        If there is none, naming those there are.

    Examples
    --------
    >>> from sde_sgd import papers
    >>> papers.load("stability").name
    'stability'
    """
    checks.one_of("paper", name, names())
    return importlib.import_module(_MODULES[name]).PAPER
