"""How much the reproduction of the paper trains and measures."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Size:
    """Numbers of seeds, and what is tried.

    ``num_seeds`` for everything measured by products with the Hessian or less, the first ``num_tables`` of them for
    what takes a bounded quasi-Newton method, a path or a spectrum; ``batch_sizes`` of the sweep, ``warm_epochs`` of
    small batches before large ones, ``num_doublings`` of the learning rate tried for large batches, ``networks`` and
    ``optimisers`` of the tables, ``remedies``. ``data`` is a local archive of images (see ``problems.load_npz``), of
    which ``num_train`` and ``num_test`` are used; None for digits alone.
    """

    num_seeds: int
    num_tables: int
    batch_sizes: tuple[int, ...]
    warm_epochs: tuple[int, ...]
    num_doublings: int
    networks: tuple[str, ...]
    optimisers: tuple[str, ...]
    remedies: tuple[str, ...]
    num_train: int
    num_test: int
    data: str | None = None
