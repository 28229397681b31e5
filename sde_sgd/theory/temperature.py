r"""What sets the noise of SGD: its temperature, the noise scale, and the learning rate that a batch size allows."""

from sde_sgd._core import checks
from sde_sgd.theory.affine_gradients import sampling_factor


def sgd_temperature(
    learning_rate: float, batch_size: int, *, momentum: float = 0.0, num_examples: int | None = None
) -> float:
    r"""Return the temperature of SGD, the one number in which its first-order SDE depends on the noise.

    .. math:: T = \frac{\eta}{1 - \beta}\,\varphi, \qquad
              dw = -\nabla f\,dt + \sqrt T\,\Sigma(w)^{1/2} dW, \qquad t = \frac{k \eta}{1 - \beta}

    with phi = 1/B, or (N - B)/(B (N - 1)) for batches without replacement. Runs of equal temperature and equal time,
    that is equal epochs where B is well below N, do the same as long as the learning rate is far below the edge of
    stability (`max_stable_learning_rate`). With momentum the limit is that of small learning rates and long times.

    Parameters
    ----------
    learning_rate
        eta > 0.
    batch_size
        B.
    momentum
        beta in [0, 1) of heavy ball in optax's convention.
    num_examples
        N, for batches without replacement; by default with.

    Raises
    ------
    TypeError, ValueError
        If a number is out of range.

    References
    ----------
    Smith, Elsen, De (2020), On the generalization benefit of noise in stochastic gradient descent, ICML.

    Examples
    --------
    >>> sgd_temperature(0.1, 32), round(sgd_temperature(0.01, 32, momentum=0.9), 12)
    (0.003125, 0.003125)
    """
    checks.positive("learning_rate", learning_rate)
    checks.integer("batch_size", batch_size)
    checks.in_half_open_unit("momentum", momentum)
    replaced = num_examples is None
    factor = 1 / batch_size if replaced else sampling_factor(num_examples, batch_size, replacement=False)
    return float(learning_rate) * factor / (1 - float(momentum))


def sgd_noise_scale(learning_rate: float, batch_size: int, num_examples: int, *, momentum: float = 0.0) -> float:
    r"""Return the noise scale of SGD on the summed loss.

    .. math:: g = \frac{\eta}{1 - \beta} \Bigl(\frac NB - 1\Bigr) \approx \frac{\eta N}{B (1 - \beta)}

    for :math:`dw/dt = -\nabla \sum_i \ell_i + \eta(t)` with :math:`\langle \eta \eta' \rangle = g F \delta(t - t')` and
    batches without replacement: (N - 1) times the temperature of the mean loss. The batch size that generalises best is
    claimed to keep it, so that it grows with the learning rate and the number of examples.

    Parameters
    ----------
    learning_rate
        eta > 0.
    batch_size
        B, at most N.
    num_examples
        N.
    momentum
        beta in [0, 1).

    Raises
    ------
    TypeError, ValueError
        If a number is out of range.

    References
    ----------
    Smith, Le (2018), A Bayesian perspective on generalization and stochastic gradient descent, ICLR.

    Examples
    --------
    >>> round(sgd_noise_scale(0.1, 10, 1000), 12)
    9.9
    """
    temperature = sgd_temperature(learning_rate, batch_size, momentum=momentum, num_examples=num_examples)
    return temperature * (num_examples - 1)


def optimal_learning_rate(batch_size: float, max_learning_rate: float, noise_batch_size: float) -> float:
    r"""Return the learning rate with the largest expected decrease of the loss in one step.

    .. math:: \eta^*(B) = \frac{\eta_{\max}}{1 + B_{\mathrm{noise}} / B}, \qquad
              \eta_{\max} = \frac{|g|^2}{g \cdot H g}, \qquad
              B_{\mathrm{noise}} = \frac{\mathrm{tr}(H \Sigma)}{g \cdot H g}

    to second order in the step. It rises in proportion to B far below the noise scale and is constant far above it; its
    local exponent is 1 / (1 + B / B_noise), one half at the noise scale itself: a *square-root rule* is what is
    seen when only batches around it are looked at.

    Parameters
    ----------
    batch_size
        B > 0.
    max_learning_rate
        eta_max > 0, that of the full gradient.
    noise_batch_size
        B_noise, as from `curvature.critical_batch_size`.

    Raises
    ------
    TypeError, ValueError
        If a number is not positive.

    References
    ----------
    McCandlish, Kaplan, Amodei, OpenAI Dota Team (2018), An empirical model of large-batch training, arXiv:1812.06162.

    Examples
    --------
    >>> [optimal_learning_rate(batch, 0.5, 32) for batch in (1, 32, 1024)]
    [0.0151..., 0.25, 0.484...]
    """
    checks.positive("batch_size", batch_size)
    checks.positive("max_learning_rate", max_learning_rate)
    checks.non_negative("noise_batch_size", noise_batch_size)
    return float(max_learning_rate) / (1 + float(noise_batch_size) / float(batch_size))
