r"""When the SDE can hold at all: the noise of a gradient against the gradient itself."""

from typing import NamedTuple

from sde_sgd._core import checks


class NoiseToSignal(NamedTuple):
    """Verdict of `noise_to_signal`.

    Attributes
    ----------
    ratio
        N/G, noise over signal.
    energy_ratio
        1 + G/N: how much larger the stationary <w, grad f> of SGD is than that of its SDE.
    sde_can_hold
        Whether the necessary condition is met. If not, SGD and its SDE cannot be close; if so, they may be.
    largest_scaling
        The largest factor by which batch size and learning rate can grow together with the runs still close.
    """

    ratio: float
    energy_ratio: float
    sde_can_hold: bool
    largest_scaling: float


def noise_to_signal(squared_gradient: float, noise_trace: float, *, closeness: float = 2**0.5) -> NoiseToSignal:
    r"""Apply the noise-to-signal criterion: whether SGD can be close to its SDE, and how far linear scaling can hold.

    .. math:: G = \mathrm{E}|\nabla f|^2, \qquad N = \mathrm{E}\,\mathrm{tr}\,C, \qquad
              \frac GN \le c^2 - 1, \qquad \kappa \le c^2 \Bigl(1 + \frac NG\Bigr)

    in equilibrium, C the covariance of one minibatch gradient. Where the motion is stationary,
    :math:`2 \mathrm{E}\langle w, \nabla f\rangle = \eta (G + N)` for SGD and :math:`\eta N` for the SDE: finite steps
    feed the one and not the other. So on a quadratic with constant noise the two differ by the factor 1 + G/N, exactly
    and at every learning rate. With scale-invariant loss and weight decay the same balance sets the squared norm of
    the weights; if norm, G and N of SGD agree with those of the SDE within factors of c, the first bound follows, and
    the second if those of batch sizes B and kappa B do. Necessary conditions both, and no more.

    Parameters
    ----------
    squared_gradient
        G, for example the mean over seeds of the squared norm of the full gradient late in a run.
    noise_trace
        N, for example the mean of `curvature.noise_trace` over B.
    closeness
        c > 1, the factor that counts as close.

    Returns
    -------
    NoiseToSignal
        The ratio, the factor 1 + G/N, and the two verdicts.

    Raises
    ------
    TypeError, ValueError
        If a number is out of range.

    References
    ----------
    Li, Malladi, Arora (2021), On the validity of modeling SGD with stochastic differential equations, NeurIPS.

    Examples
    --------
    >>> noise_to_signal(0.5, 2.0)
    NoiseToSignal(ratio=4.0, energy_ratio=1.25, sde_can_hold=True, largest_scaling=10.0...)
    >>> noise_to_signal(3.0, 1.0).sde_can_hold
    False
    """
    checks.non_negative("squared_gradient", squared_gradient)
    checks.positive("noise_trace", noise_trace)
    checks.positive("closeness", closeness)
    if closeness <= 1:
        raise ValueError(f"closeness must be above 1, got {closeness}. Pass for example 2**0.5.")
    signal, noise, square = float(squared_gradient), float(noise_trace), float(closeness) ** 2
    ratio = noise / signal if signal > 0 else float("inf")
    return NoiseToSignal(ratio, 1 + signal / noise, signal / noise <= square - 1, square * (1 + ratio))
