"""How much the reproduction of the paper simulates."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Size:
    """Numbers of runs and times.

    ``num_exits`` runs to their escape for a mean time over a low barrier, ``num_replicas`` of ``num_particles`` by
    splitting over a high one, ``num_power_exits`` for each level of the power law; ``num_lanes`` over ``horizon``
    units of time for stationary shares, ``num_relaxing`` for the rate at which they are reached, ``num_fluctuating``
    for excess losses.
    """

    num_exits: int
    num_particles: int
    num_replicas: int
    num_power_exits: int
    num_lanes: int
    horizon: float
    num_relaxing: int
    num_fluctuating: int
