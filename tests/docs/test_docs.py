"""The README's example, every docstring example and the notebooks run."""

import ast
import doctest
import importlib
import pathlib
import pkgutil
import re

import pytest

import sde_sgd

ROOT = pathlib.Path(__file__).resolve().parents[2]
MODULES = sorted(name for _, name, _ in pkgutil.walk_packages(sde_sgd.__path__, "sde_sgd.") if "__main__" not in name)


def readme_blocks():
    return re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)


def test_the_example_of_the_readme_runs_and_prints_a_table(capsys):
    exec(compile(readme_blocks()[0], "README.md", "exec"), {})
    printed = capsys.readouterr().out
    assert "sme2" in printed and "verdict" in printed


def test_every_block_of_the_readme_uses_names_that_exist():
    for block in readme_blocks():
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "ss":
                assert hasattr(sde_sgd, node.attr), node.attr


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings(name):
    module = importlib.import_module(name)
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    result = doctest.testmod(module, optionflags=flags, extraglobs={"ss": sde_sgd, "sde_sgd": sde_sgd})
    assert result.failed == 0


NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_run_at_a_small_size(path, monkeypatch):
    nbclient = pytest.importorskip("nbclient")
    nbformat = pytest.importorskip("nbformat")
    monkeypatch.setenv("SDE_SGD_SMALL", "1")
    notebook = nbformat.read(path, as_version=4)
    assert any(cell.get("outputs") for cell in notebook.cells), "the file holds no outputs: execute and save it"
    where = {"metadata": {"path": ROOT}}
    nbclient.NotebookClient(notebook, timeout=600, kernel_name="python3", resources=where).execute()
