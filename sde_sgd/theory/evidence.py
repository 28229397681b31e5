"""The evidence for a minimum: how well it fits, less what its sharpness costs."""

import numpy as np
from numpy.typing import ArrayLike

from sde_sgd._core import checks
from sde_sgd.theory import matrices


def log_evidence(summed_loss: float, curvatures: ArrayLike, weight_decay: float) -> float:
    r"""Return the log evidence of a model in Laplace's approximation at a minimum.

    .. math:: \ln P \approx -\Bigl[C(w_0) + \tfrac12 \sum_i \ln \frac{h_i}{\lambda}\Bigr]

    with C the loss *summed* over the examples (a negative log likelihood) plus lambda |w|^2 / 2, h_i the eigenvalues
    of its Hessian. The second term is the logarithm of the share of the prior's volume that the minimum fills: broad
    minima cost less, whatever the parametrisation in which the prior is uniform. Directions that the data leave flat
    have h_i = lambda and cost nothing. A model worth having beats the null model of equal probabilities,
    -N ln(number of classes).

    Parameters
    ----------
    summed_loss
        C(w_0), the regulariser included.
    curvatures
        h_i, all positive, shape (d,).
    weight_decay
        lambda > 0, of the summed loss.

    Raises
    ------
    TypeError, ValueError
        If a curvature is not positive (no minimum) or the weight decay is not.

    References
    ----------
    Smith, Le (2018), A Bayesian perspective on generalization and stochastic gradient descent, ICLR. MacKay (1992), A
    practical Bayesian framework for backpropagation networks, Neural Computation 4.

    Examples
    --------
    >>> round(log_evidence(10.0, [4.0, 1.0], 1.0), 4)
    -10.6931
    """
    checks.finite("summed_loss", summed_loss)
    checks.positive("weight_decay", weight_decay)
    values = matrices.finite_array("curvatures", curvatures, (None,))
    if np.any(values <= 0):
        raise ValueError(f"curvatures must be positive, got {values.min():.6g}: Laplace needs a minimum.")
    return -float(summed_loss) - float(np.sum(np.log(values / float(weight_decay)))) / 2
