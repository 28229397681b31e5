import jax
import pytest


@pytest.fixture
def x64():
    with jax.enable_x64(True):
        yield


@pytest.fixture(params=["x64 off", "x64 on"])
def precision(request):
    """Run a test with 64-bit types disabled and enabled."""
    with jax.enable_x64(request.param == "x64 on"):
        yield request.param
