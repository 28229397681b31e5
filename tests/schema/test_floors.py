"""The rooms of the package: imports go downward only, importing it takes little, files and functions stay small."""

import ast
import pathlib
import subprocess
import sys

import pytest

import sde_sgd

PACKAGE = pathlib.Path(sde_sgd.__file__).parent
ROOT = PACKAGE.parent
FILES = sorted(PACKAGE.rglob("*.py"))

# Which rooms each room may import. Whatever is not listed is at the top and may import all below it.
MAY_IMPORT = {
    "_core": set(),
    "problems": {"_core"},
    "curvature": {"_core", "problems"},
    "noise": {"_core", "problems", "curvature"},
    "processes": {"_core", "problems", "noise"},
    "results": {"_core"},
    "run": {"_core", "problems", "noise", "processes", "results"},
    "theory": {"_core"},
    "analysis": {"_core", "results"},
    "configure": {"_core"},
}
TOP = {"plotting", "minimum", "compare", "escape", "papers", "cli", "__main__", "__init__"}
TOO_LONG_FILES: set[str] = set()  # files above 300 lines: split them
TOO_LONG_FUNCTIONS: set[str] = set()  # functions above 40 lines of code, the docstring not counted
HEAVY = ("flax", "optax", "matplotlib", "xarray", "sklearn", "pandas")


def imported(path):
    """Return the dotted names that a file imports, those under TYPE_CHECKING left out."""
    tree = ast.parse(path.read_text())
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            node.body = []
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: write absolute imports"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def room(path):
    relative = path.relative_to(PACKAGE)
    return relative.parts[0] if len(relative.parts) > 1 else relative.stem


def violations(name, imports):
    """Return what a file of room ``name`` may not import."""
    allowed = MAY_IMPORT.get(name, set(MAY_IMPORT) | TOP) | {name}
    inside = {full.split(".")[1] for full in imports if full.startswith("sde_sgd.")}
    bare = {"sde_sgd"} if "sde_sgd" in imports and name in MAY_IMPORT else set()
    return sorted((inside - allowed) | bare)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_downward_only(path):
    assert room(path) in set(MAY_IMPORT) | TOP, "a room that the plan of floors does not know"
    assert violations(room(path), imported(path)) == []


def test_the_plan_of_floors_has_no_circle():
    above = dict(MAY_IMPORT)
    while above:
        free = {name for name, below in above.items() if not below & set(above)}
        assert free, f"circle among {sorted(above)}"
        above = {name: below for name, below in above.items() if name not in free}
    for name in ("theory", "curvature", "analysis"):
        assert "run" not in MAY_IMPORT[name]


def test_files_of_one_room_import_each_other_without_circles():
    modules = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in FILES}
    graph = {
        name: {target for full in imported(path) for target in (full, full.rpartition(".")[0]) if target in modules}
        for name, path in modules.items() if path.name != "__init__.py"
    }
    graph = {name: below & set(graph) for name, below in graph.items()}
    while graph:
        free = {name for name, below in graph.items() if not below & set(graph) - {name}}
        assert free, f"circle among {sorted(graph)}"
        graph = {name: below for name, below in graph.items() if name not in free}


def test_teeth_a_forbidden_import_is_seen():
    assert violations("theory", {"sde_sgd.run.simulate.simulate"}) == ["run"]
    assert violations("noise", {"sde_sgd.processes.SGD"}) == ["processes"]
    assert violations("run", {"sde_sgd.plotting.compare_figure"}) == ["plotting"]
    assert violations("run", {"sde_sgd"}) == ["sde_sgd"]
    assert violations("analysis", {"sde_sgd._core.checks", "numpy"}) == []


def test_scripts_and_notebooks_use_public_names_only():
    for path in [*ROOT.glob("benchmarks/**/*.py"), *ROOT.glob("notebooks/**/*.py")]:
        private = [name for name in imported(path) if name.startswith("sde_sgd") and "._" in name]
        assert private == [], path
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.startswith("__"):
                assert not ast.unparse(node).startswith(("ss.", "sde_sgd.")), ast.unparse(node)


def test_importing_the_package_takes_little():
    code = f"import sys, sde_sgd; print([name for name in {HEAVY!r} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_public_names_exist():
    rooms = [sde_sgd, sde_sgd.problems, sde_sgd.noise, sde_sgd.processes, sde_sgd.run, sde_sgd.curvature]
    for module in rooms:
        assert sorted(set(module.__all__)) == sorted(module.__all__)
        for name in module.__all__:
            assert hasattr(module, name), f"{module.__name__}.{name}"
            assert not name.startswith("_")


def test_names_that_the_design_promises():
    for name in ("sweep", "simulate", "Problem", "SGD", "SME", "Langevin", "analysis", "theory", "curvature"):
        assert name in sde_sgd.__all__, f"sde_sgd.{name}"
    for name in ("linear_regression", "potential", "from_flax"):
        assert name in sde_sgd.problems.__all__


def code_lines(function):
    """Return how many lines a function has, its docstring not counted."""
    first = function.body[0]
    docstring = first.end_lineno - first.lineno + 1 if ast.get_docstring(function) is not None else 0
    return function.end_lineno - function.lineno + 1 - docstring


def functions(path):
    return [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)]


def test_files_and_functions_are_short():
    long_files = {str(path.relative_to(PACKAGE)) for path in FILES if len(path.read_text().splitlines()) > 300}
    assert long_files == TOO_LONG_FILES
    long_functions = {f"{path.relative_to(PACKAGE)}:{function.name}" for path in FILES for function in functions(path)
                      if code_lines(function) > 40}
    assert long_functions == TOO_LONG_FUNCTIONS


def test_no_function_swallows_misspelt_arguments():
    catching = {function.name for path in FILES for function in functions(path) if function.args.kwarg is not None}
    assert catching <= {"from_optax"}
