r"""The law of balance: a product u w of parameters is balanced by the noise of SGD, and then has a closed law.

The loss (u w x - y)^2 depends on v = u w alone, so u and w may be rescaled against each other. Gradient flow conserves
u^2 - w^2; each step of SGD shrinks it. With u^2 = w^2 the product follows an equation of its own, whose stationary law
is known. Its noise grows with v, so that beyond a critical temperature it collapses to v = 0, a saddle of the loss.

The temperature is eta / B, and the loss carries no factor 1/2.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from sde_sgd._core import checks
from sde_sgd.theory import matrices


class ProductMoments(NamedTuple):
    r"""What of the data enters the law: :math:`\mathrm{Var}\,dl/dv = 4 (a_1 v^2 - 2 a_2 v + a_3)`, a parabola.

    Attributes
    ----------
    square_variance
        a_1 = Var x^2.
    covariance
        a_2 = Cov(x^2, x y).
    product_variance
        a_3 = Var x y.
    mean_square
        b_1 = E x^2.
    mean_product
        b_2 = E x y.
    """

    square_variance: float
    covariance: float
    product_variance: float
    mean_square: float
    mean_product: float

    def noise(self, product: ArrayLike) -> Float[np.ndarray, "*shape"]:
        """Return g(v) = a_1 v^2 - 2 a_2 v + a_3, a quarter of the variance of dl/dv."""
        v = np.asarray(product, np.float64)
        return self.square_variance * v**2 - 2 * self.covariance * v + self.product_variance


def product_moments(features: ArrayLike, targets: ArrayLike) -> ProductMoments:
    """Return the moments of a finite data set of pairs (x_i, y_i), with 1/N normalisation.

    Parameters
    ----------
    features, targets
        x_i and y_i, vectors of one length.

    Raises
    ------
    ValueError
        If the shapes disagree or a value is not finite.

    Examples
    --------
    >>> product_moments([1.0, 1.0], [-1.0, 3.0])
    ProductMoments(square_variance=0.0, covariance=0.0, product_variance=4.0, mean_square=1.0, mean_product=1.0)
    """
    x = matrices.finite_array("features", features, (None,))
    y = matrices.finite_array("targets", targets, x.shape)
    squares, products = x**2, x * y
    first, second = squares - squares.mean(), products - products.mean()
    return ProductMoments(*(float(np.mean(values)) for values in
                            (first**2, first * second, second**2, squares, products)))


def gaussian_product_moments(signal: float, label_noise: float) -> ProductMoments:
    r"""Return the moments of :math:`y = k x + \sigma\epsilon` with x and epsilon standard normal.

    Parameters
    ----------
    signal
        k, a finite number.
    label_noise
        sigma >= 0.

    Examples
    --------
    >>> gaussian_product_moments(1.0, 1.0).product_variance
    3.0
    """
    k = float(matrices.finite_array("signal", signal, ()))
    checks.non_negative("label_noise", label_noise)
    return ProductMoments(2.0, 2 * k, 2 * k**2 + float(label_noise) ** 2, 1.0, k)


def balance_contraction(learning_rate: float, product_gradient: ArrayLike) -> Float[np.ndarray, "*shape"]:
    r"""Return the factor by which one SGD step multiplies u^2 - w^2, exactly.

    .. math:: u'^2 - w'^2 = (1 - \eta^2 h^2)\,(u^2 - w^2)

    for any loss of the product u w, h the minibatch mean of dl/d(uw). Without momentum or weight decay; to the last
    digit, at any learning rate. The first-order SDE has the rate 4 (eta/B) g(v) per unit time, and gradient flow none.

    Parameters
    ----------
    learning_rate
        eta > 0.
    product_gradient
        h, of any shape.

    Raises
    ------
    TypeError, ValueError
        If the learning rate is not positive.

    References
    ----------
    Ziyin, Li, Ueda (2023), Law of balance and stationary distribution of stochastic gradient descent.

    Examples
    --------
    >>> balance_contraction(0.1, [0.0, 2.0])
    array([1.  , 0.96])
    """
    checks.positive("learning_rate", learning_rate)
    return 1 - (float(learning_rate) * np.asarray(product_gradient, np.float64)) ** 2


def balance_rate(
    moments: ProductMoments, product: ArrayLike, temperature: float, weight_decay: float = 0.0
) -> Float[np.ndarray, "*shape"]:
    r"""Return the rate per unit time at which the first-order SDE shrinks u^2 - w^2.

    .. math:: \frac{d}{dt} (u^2 - w^2) = -4\,[T g(v) + \gamma]\,(u^2 - w^2), \qquad T = \eta/B, \quad t = k \eta

    for the loss :math:`(uwx - y)^2 + \gamma (u^2 + w^2)`; a deterministic equation given v, the noise cancels.

    Parameters
    ----------
    moments
        Of the data.
    product
        v = u w, of any shape.
    temperature
        T >= 0.
    weight_decay
        gamma >= 0.

    Raises
    ------
    TypeError, ValueError
        If a number is out of range.

    References
    ----------
    Ziyin, Li, Ueda (2023), Law of balance and stationary distribution of stochastic gradient descent.

    Examples
    --------
    >>> float(balance_rate(gaussian_product_moments(1.0, 1.0), 1.0, 0.1))
    0.4
    """
    checks.non_negative("temperature", temperature)
    checks.non_negative("weight_decay", weight_decay)
    return 4 * (float(temperature) * moments.noise(product) + float(weight_decay))


def critical_temperature(moments: ProductMoments, weight_decay: float = 0.0, *, order: int = 1) -> float:
    r"""Return the temperature eta/B at which the balanced product collapses to 0.

    .. math:: T_c = \frac{b_2 - \gamma}{a_3} \quad\text{(order 1)}, \qquad \frac{b_2}{a_3 + b_2^2} \quad\text{(order 2)}

    of the stochastic modified equation of that order. Discrete SGD collapses where
    :math:`\mathrm{E} \ln|1 + 2\eta\xi| < 0`, xi a minibatch mean of x y, which at a strong signal happens at no
    learning rate at all: `lyapunov_exponent` with curvatures -2 x_i y_i.

    Parameters
    ----------
    moments
        Of the data, with b_2 > 0 (else change the sign of y) and a_3 > 0.
    weight_decay
        gamma >= 0; for order 1 only.
    order
        1 or 2.

    Returns
    -------
    temperature : float
        T_c; not above 0 if the weight decay alone makes the product collapse.

    Raises
    ------
    TypeError, ValueError
        If a number is out of range, or the moments do not allow it.

    References
    ----------
    Ziyin, Li, Ueda (2023), Law of balance and stationary distribution of stochastic gradient descent.

    Examples
    --------
    >>> critical_temperature(gaussian_product_moments(1.0, 1.0))
    0.333...
    """
    checks.one_of("order", order, (1, 2))
    checks.non_negative("weight_decay", weight_decay)
    _check_signal(moments)
    if order == 1:
        return (moments.mean_product - float(weight_decay)) / moments.product_variance
    if weight_decay:
        raise ValueError(f"weight_decay must be 0 for order 2, got {weight_decay}: no formula is known. Pass order=1.")
    return moments.mean_product / (moments.product_variance + moments.mean_product**2)


def _check_signal(moments: ProductMoments) -> None:
    if not (moments.mean_product > 0 and moments.product_variance > 0):
        raise ValueError(f"moments must have positive mean_product and product_variance, got {moments}. Change the "
                         "sign of the targets; without variance there is no noise.")
