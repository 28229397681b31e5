import gzip
import io
import json
import sys
import urllib.error
from pathlib import Path
from urllib.parse import urlparse

import jax.numpy as jnp
import numpy as np
import pytest
import sklearn.datasets._openml

from sde_sgd.problems import datasets
from sde_sgd.problems.regression import least_squares

SHARED = Path(__file__).parents[3] / "shared" / "data"
ARFF = "https://api.openml.org/data/v1/download/52667/mnist_784.arff"


def test_digits(precision):
    features, labels = datasets.digits()
    assert features.shape == (1797, 64) and labels.shape == (1797,)
    assert jnp.asarray(features).dtype == jnp.float32 and jnp.asarray(labels).dtype == jnp.int32
    assert features.min() == 0.0 and features.max() == 1.0
    assert sorted(set(labels.tolist())) == list(range(10))


def test_diabetes_is_standardised(precision):
    features, targets = datasets.diabetes()
    assert features.shape == (442, 10) and targets.shape == (442,)
    assert jnp.asarray(features).dtype == jnp.asarray(targets).dtype == jnp.float32
    for columns in (features.astype(np.float64), targets.astype(np.float64)):
        np.testing.assert_allclose(columns.mean(axis=0), 0.0, atol=1e-6)
        np.testing.assert_allclose(columns.std(axis=0), 1.0, rtol=1e-6)


def test_diabetes_has_the_numbers_of_its_docstring():
    features, targets = datasets.diabetes()
    largest = np.linalg.eigvalsh(np.corrcoef(features.T))[-1]
    np.testing.assert_allclose([largest, 2 / largest], [4.02, 0.497], atol=5e-3)
    problem = least_squares(features, targets)
    np.testing.assert_allclose(problem.loss(jnp.zeros(10)), 0.5, rtol=1e-5)
    np.testing.assert_allclose(problem.loss(problem.minimum), 0.241, atol=5e-4)


# OpenML: scikit-learn's own fetcher, parser, checksum and cache, behind a server of five small files.


class Response(io.BytesIO):
    def info(self):
        return {"Content-Encoding": "gzip"}


def mnist_of_openml(num_examples=5, quote=""):
    """Return pixels, labels and the server's answers {path: bytes} for a small mnist_784."""
    rng = np.random.default_rng(0)
    pixels, labels = rng.integers(0, 256, (num_examples, 784)), np.arange(num_examples) % 10
    pixels[0, :2] = 0, 255
    names = [f"pixel{i}" for i in range(1, 785)]
    header = [f"@ATTRIBUTE {name} real" for name in names]
    rows = [",".join(map(str, [*row, f"{quote}{label}{quote}"])) for row, label in zip(pixels, labels, strict=True)]
    arff = "\n".join(["@RELATION mnist_784", *header, "@ATTRIBUTE class {0,1,2,3,4,5,6,7,8,9}", "@DATA", *rows, ""])
    return pixels, labels, {"data/v1/download/52667/mnist_784.arff": arff.encode()} | api_of_openml(names, arff)


def api_of_openml(names, arff):
    import hashlib

    flags = {"is_ignore": "false", "is_row_identifier": "false", "number_of_missing_values": "0"}
    features = [flags | {"index": str(i), "name": name, "data_type": "numeric", "is_target": "false"}
                for i, name in enumerate(names)]
    features.append(flags | {"index": "784", "name": "class", "data_type": "nominal", "is_target": "true",
                             "nominal_value": [str(i) for i in range(10)]})
    description = {"id": "554", "name": "mnist_784", "version": "1", "format": "ARFF", "status": "active",
                   "description": "small", "url": ARFF, "file_id": "52667",
                   "md5_checksum": hashlib.md5(arff.encode()).hexdigest()}
    quality = [{"name": "NumberOfInstances", "value": str(arff.split("@DATA\n")[1].count("\n"))}]
    found = {"did": 554, "name": "mnist_784", "version": 1, "status": "active", "format": "ARFF"}
    answers = {
        "list/data_name/mnist_784/limit/2/data_version/1": {"data": {"dataset": [found]}},
        "554": {"data_set_description": description},
        "features/554": {"data_features": {"feature": features}},
        "qualities/554": {"data_qualities": {"quality": quality}},
    }
    return {f"api/v1/json/data/{path}": json.dumps(answer).encode() for path, answer in answers.items()}


@pytest.fixture
def offline(monkeypatch):
    """Make every download fail at once, and every retry immediate."""
    asked = []

    def urlopen(request, *args, **kwargs):
        asked.append(request.full_url)
        raise urllib.error.URLError("no network in tests")

    monkeypatch.setattr(sklearn.datasets._openml, "urlopen", urlopen)
    monkeypatch.setattr(sklearn.datasets._openml.time, "sleep", lambda seconds: None)
    return asked


@pytest.fixture
def server(monkeypatch):
    """Serve a small mnist_784 in place of OpenML."""
    pixels, labels, answers = mnist_of_openml()
    asked = []

    def urlopen(request, *args, **kwargs):
        path = urlparse(request.full_url).path.removeprefix("/")
        asked.append(path)
        return Response(gzip.compress(answers[path]))

    monkeypatch.setattr(sklearn.datasets._openml, "urlopen", urlopen)
    return pixels, labels, asked


def assert_is_small_mnist(images, labels, pixels, expected_labels):
    assert images.shape == (len(pixels), 28, 28, 1) and images.dtype == np.float32
    np.testing.assert_array_equal(images.reshape(-1, 784), pixels.astype(np.float32) / np.float32(255))
    assert images.min() == 0.0 and images.max() == 1.0
    np.testing.assert_array_equal(labels, expected_labels)
    assert labels.dtype == np.int32


def test_openml_downloads_once(server, tmp_path):
    pixels, labels, asked = server
    assert_is_small_mnist(*datasets.openml("mnist_784", data_home=tmp_path), pixels, labels)
    assert len(asked) == 5
    images, _ = datasets.openml("mnist_784", data_home=tmp_path, num_examples=2)
    assert images.shape == (2, 28, 28, 1)
    assert len(asked) == 5, "the second call must be served by the cache"
    datasets.openml("mnist_784", data_home=tmp_path, cache=False)
    assert len(asked) > 5


@pytest.mark.parametrize("quote", ["", "'"])
def test_openml_reads_a_cache_without_network(quote, offline, tmp_path):
    pixels, labels, answers = mnist_of_openml(quote=quote)
    for path, answer in answers.items():
        local = tmp_path / "openml" / "openml.org" / f"{path}.gz"
        local.parent.mkdir(parents=True, exist_ok=True)
        local.write_bytes(gzip.compress(answer))
    assert_is_small_mnist(*datasets.openml("mnist_784", data_home=tmp_path), pixels, labels)
    assert offline == []


@pytest.mark.parametrize("name", ["mnist_784", "Fashion-MNIST"])
def test_openml_without_network_says_what_to_do(name, offline, tmp_path):
    with pytest.raises(RuntimeError, match=rf"{name} could not be loaded.*{tmp_path}.*load_npz\(path\).*no network"):
        datasets.openml(name, data_home=tmp_path)
    assert name.lower() in offline[0]


def test_openml_names_the_default_cache_folder(offline, tmp_path, monkeypatch):
    monkeypatch.setenv("SCIKIT_LEARN_DATA", str(tmp_path / "elsewhere"))
    with pytest.raises(RuntimeError, match=r"cache folder .*elsewhere"):
        datasets.openml("mnist_784")


def test_openml_with_a_wrong_checksum_says_what_to_do(server, tmp_path):
    datasets.openml("mnist_784", data_home=tmp_path)
    [arff] = tmp_path.rglob("mnist_784.arff.gz")
    description = next(tmp_path.rglob("data/554.gz"))
    changed = gzip.decompress(description.read_bytes()).replace(b'"md5_checksum": "', b'"md5_checksum": "0')
    description.write_bytes(gzip.compress(changed))
    with pytest.warns(RuntimeWarning, match="Invalid cache"), pytest.raises(RuntimeError, match="md5 checksum"):
        datasets.openml("mnist_784", data_home=tmp_path)
    assert arff.exists()


@pytest.mark.parametrize("package", ["pandas", "sklearn.datasets"])
def test_openml_without_a_package_says_what_to_do(package, server, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(RuntimeError, match=r"mnist_784 could not be loaded.*load_npz.*(Import|ModuleNotFound)Error"):
        datasets.openml("mnist_784", data_home=tmp_path)


@pytest.mark.parametrize(("arguments", "error", "message"), [
    ({"name": "mnist"}, ValueError, "name must be one of mnist_784, Fashion-MNIST; got 'mnist'"),
    ({"name": "mnist_784", "num_examples": 0}, ValueError, "num_examples must be at least 1, got 0"),
    ({"name": "mnist_784", "num_examples": 2.5}, TypeError, "num_examples must be an int"),
])
def test_openml_refuses_bad_arguments_before_any_download(arguments, error, message, offline, tmp_path):
    with pytest.raises(error, match=message):
        datasets.openml(**arguments, data_home=tmp_path)
    assert offline == []


def test_openml_refuses_more_examples_than_there_are(server, tmp_path):
    with pytest.raises(ValueError, match=r"num_examples must be in 1\.\.5, got 6"):
        datasets.openml("mnist_784", num_examples=6, data_home=tmp_path)


# Local archives.


def save(path, **changes):
    rng = np.random.default_rng(0)
    arrays = {
        "x_train": rng.integers(0, 256, (6, 5, 4), np.uint8), "y_train": np.arange(6, dtype=np.uint8),
        "x_test": rng.integers(0, 256, (3, 5, 4, 3), np.uint8), "y_test": np.arange(3, dtype=np.uint8),
    } | changes
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
    return path, arrays


@pytest.mark.parametrize(("split", "shape"), [("train", (6, 5, 4, 1)), ("test", (3, 5, 4, 3))])
def test_load_npz(split, shape, tmp_path, precision):
    path, arrays = save(tmp_path / "images.npz")
    images, labels = datasets.load_npz(str(path), split)
    assert images.shape == shape and jnp.asarray(images).dtype == jnp.float32
    np.testing.assert_array_equal(np.round(images * 255).reshape(arrays[f"x_{split}"].shape), arrays[f"x_{split}"])
    np.testing.assert_array_equal(labels, arrays[f"y_{split}"])
    assert jnp.asarray(labels).dtype == jnp.int32


def test_load_npz_keeps_the_first(tmp_path):
    path, _ = save(tmp_path / "images.npz")
    images, labels = datasets.load_npz(path, num_examples=2)
    np.testing.assert_array_equal(images, datasets.load_npz(path)[0][:2])
    assert labels.tolist() == [0, 1]
    for wrong in (0, 7):
        with pytest.raises(ValueError, match=rf"num_examples must be in 1\.\.6, got {wrong}"):
            datasets.load_npz(path, num_examples=wrong)


@pytest.mark.parametrize(("changes", "message"), [
    ({"y_train": None}, "must hold x_train and y_train, got x_train, x_test, y_test"),
    ({"x_train": np.ones((6, 5, 4), np.float32)}, r"x_train in .* must be uint8 images.*float32 of shape \(6, 5, 4\)"),
    ({"x_train": np.ones((6, 20), np.uint8)}, r"with 3 or 4 axes, got uint8 of shape \(6, 20\)"),
    ({"y_train": np.ones(5, np.uint8)}, r"y_train in .* must be integers of shape \(6,\).*got uint8 of shape \(5,\)"),
    ({"y_train": np.ones(6)}, "one for each image, got float64"),
    ({"y_train": np.array([{}] * 6)}, "is damaged.*allow_pickle"),
])
def test_load_npz_refuses_other_contents(changes, message, tmp_path):
    path, _ = save(tmp_path / "images.npz", **changes)
    with pytest.raises(ValueError, match=message):
        datasets.load_npz(path)


def test_load_npz_refuses_broken_files(tmp_path):
    path, _ = save(tmp_path / "images.npz")
    whole = path.read_bytes()
    with pytest.raises(FileNotFoundError, match=r"must be an existing \.npz file, got .*missing\.npz"):
        datasets.load_npz(tmp_path / "missing.npz")
    with pytest.raises(FileNotFoundError, match=r"must be an existing \.npz file"):
        datasets.load_npz(tmp_path)
    with pytest.raises(ValueError, match="split must be one of train, test; got 'valid'"):
        datasets.load_npz(path, "valid")
    for broken in (whole[: len(whole) // 2], b"", b"\x93NUMPY text"):
        path.write_bytes(broken)
        with pytest.raises(ValueError, match=r"images\.npz is truncated or not an \.npz archive"):
            datasets.load_npz(path)
    path.write_bytes(whole.replace(whole[200:220], b"\x07" * 20, 1))
    with pytest.raises(ValueError, match=r"images\.npz is damaged.*Copy it again"):
        datasets.load_npz(path)


@pytest.mark.parametrize(("name", "shape"), [
    ("mnist", (28, 28, 1)), ("fashion_mnist", (28, 28, 1)), ("cifar10_part", (32, 32, 3)),
])
def test_load_npz_reads_the_shared_images(name, shape):
    path = SHARED / f"{name}.npz"
    if not path.exists():
        pytest.skip(f"{path} is absent: it is not shipped with the package")
    images, labels = datasets.load_npz(path, "test", num_examples=500)
    assert images.shape == (500, *shape) and images.min() == 0.0 and images.max() == 1.0
    assert sorted(set(labels.tolist())) == list(range(10))
