"""What the tail estimators refuse, and the shape of what they return."""

import numpy as np
import pytest
import xarray

from sde_sgd.analysis import hill, tail_index


def pareto(num=2000, **dims):
    shape = (*dims.values(), num)
    return xarray.DataArray(1 + np.random.default_rng(0).pareto(2.0, shape), dims=(*dims, "seed"))


@pytest.mark.parametrize("estimate", [tail_index, hill])
def test_bad_samples_are_refused(estimate):
    with pytest.raises(TypeError, match="samples must be an xarray"):
        estimate(np.ones(2000))
    with pytest.raises(ValueError, match="dim must be one of seed"):
        estimate(pareto(), dim="lane")
    with pytest.raises(ValueError, match="at least 1000"):
        estimate(pareto(999))
    with pytest.raises(ValueError, match="3 values that are not finite"):
        estimate(pareto().where(np.arange(2000) > 2))
    with pytest.raises(ValueError, match="zeros or many equal"):
        estimate(pareto() * 0)
    with pytest.raises(ValueError, match="zeros or many equal"):
        estimate(np.round(pareto()))
    with pytest.raises(ValueError, match="confidence"):
        estimate(pareto(), confidence=1.0)


def test_bad_tails_are_refused():
    with pytest.raises(ValueError, match=r"num_tail must be in 2\.\.1999"):
        hill(pareto(), num_tail=2000)
    with pytest.raises(TypeError, match="num_tail"):
        hill(pareto(), num_tail=10.5)


@pytest.mark.parametrize("estimate", [tail_index, hill])
def test_other_dims_are_kept_and_signs_and_scales_do_not_matter(estimate):
    samples = pareto(process=2, step=3).assign_coords(step=[0, 5, 10])
    tails = estimate(samples)
    assert tails.tail_index.dims == ("process", "step") and list(tails.step) == [0, 5, 10]
    assert tails.attrs["confidence"] == 0.95
    signs = np.where(np.arange(2000) % 2, 1.0, -1.0)
    other = estimate((samples * 7 * signs).transpose("seed", ...).isel(process=1, step=2))
    one = tails.isel(process=1, step=2)
    for name in ("tail_index", "tail_index_lower", "tail_index_upper", "num_tail", "distance"):
        assert float(other[name]) == pytest.approx(float(one[name]), rel=1e-9)
    assert float(other.threshold) == pytest.approx(7 * float(one.threshold))
    assert (tails.tail_index_lower < tails.tail_index).all() and (tails.tail_index < tails.tail_index_upper).all()


def test_the_interval_of_hill_is_that_of_a_gamma_law():
    tails = hill(pareto(), num_tail=100, confidence=0.9)
    from scipy import stats

    low, high = stats.chi2.ppf([0.05, 0.95], 200) / 200
    assert float(tails.tail_index_lower / tails.tail_index) == pytest.approx(low)
    assert float(tails.tail_index_upper / tails.tail_index) == pytest.approx(high)
