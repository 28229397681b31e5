"""Learning rates that fall as a run goes on, with their numbers as data: one program for a whole grid."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array


def halving_schedule(learning_rate: Any, num_steps: Any, num_halvings: int = 10) -> Callable[[Any], Array]:
    r"""Return a schedule that is constant for the first half of a run and is then halved in equal intervals.

    .. math:: \eta_k = \eta\, 2^{-j_k}, \qquad
              j_k = \min\bigl(h, \max\bigl(0, \lfloor h\,(2k + 1)/K \rfloor - h + 1\bigr)\bigr)

    with K steps and h halvings, the first of them half way: the last interval has :math:`\eta\,2^{-h}`. A step counts
    where its middle lies, so that rounding never moves a boundary.

    Parameters
    ----------
    learning_rate, num_steps
        Numbers, traced or not.
    num_halvings
        h >= 1; ten in the paper, from eta to eta/1024.

    Returns
    -------
    Callable
        An optax schedule: step -> learning rate.

    References
    ----------
    Smith, Elsen, De (2020), On the generalization benefit of noise in stochastic gradient descent, ICML.

    Examples
    --------
    >>> import sde_sgd as ss
    >>> rate = ss.processes.halving_schedule(1.0, 40)
    >>> [float(rate(step)) for step in (0, 19, 20, 21, 22, 39)]
    [1.0, 1.0, 0.5, 0.5, 0.25, 0.0009765625]
    """

    def schedule(step: Any) -> Array:
        rate = jnp.asarray(learning_rate, jnp.float32)
        place = (jnp.asarray(step, rate.dtype) + 0.5) / jnp.asarray(num_steps, rate.dtype)
        halvings = jnp.clip(jnp.floor(2 * num_halvings * place) - (num_halvings - 1), 0, num_halvings)
        return rate * jnp.exp2(-halvings)

    return schedule


def halving_sgd(learning_rate: Any, num_steps: Any, momentum: Any = 0.0, weight_decay: Any = 0.0) -> Any:
    r"""Return the optax optimiser of SGD with `halving_schedule`, momentum and weight decay, for `from_optax`.

    .. math:: m_{k+1} = \beta m_k + g_k + \lambda w_k, \qquad w_{k+1} = w_k - \eta_k m_{k+1}

    Every number may be traced. Given to `from_optax` as floats, they are data: a grid of learning rates and lengths is
    one compiled program.

    Parameters
    ----------
    learning_rate
        The first learning rate.
    num_steps
        The length of the run. Pass a float: an int would be part of the program.
    momentum, weight_decay
        beta and lambda, the latter inside the gradient, as an L2 penalty.

    Returns
    -------
    optax.GradientTransformation
        The chain of weight decay, trace and schedule.

    Examples
    --------
    >>> import sde_sgd as ss
    >>> process = ss.from_optax(ss.processes.halving_sgd, ss.EpochShuffle(32), learning_rate=0.5, num_steps=1000.0,
    ...                         momentum=0.9, weight_decay=5e-4)
    """
    import optax

    return optax.chain(
        optax.add_decayed_weights(weight_decay),
        optax.trace(momentum),
        optax.scale_by_learning_rate(halving_schedule(learning_rate, num_steps)),
    )
