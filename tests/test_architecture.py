"""The house keeps its shape: imports point down and in no circle, registries name what is there, functions stay short."""

import ast
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import holdfast
from holdfast.core.config import Config, load, summary
from holdfast.data.benchmarks import BENCHMARKS
from holdfast.data.training import SOURCES
from holdfast.judges import JUDGES
from holdfast.models.generate import GENERATORS
from holdfast.models.samplers import SAMPLERS
from holdfast.tuning import TUNERS
from holdfast.tuning.defences import DEFENCES

HOUSE = Path(holdfast.__file__).parent
FLOORS = [
    {"core"},
    {"models", "data", "analysis", "report"},
    {"tuning", "judges", "worlds"},
    {"study"},
    {"paper", "audit", "integrations"},
    {"service"},
    {"api"},
    {"cli"},
]
"""From the ground up; rooms of one floor do not import each other. All are folders but api.py."""
LEVEL = {room: level for level, rooms in enumerate(FLOORS) for room in rooms}
REGISTRIES = [BENCHMARKS, SOURCES, DEFENCES, GENERATORS, JUDGES, SAMPLERS, TUNERS]
MODULES = sorted(HOUSE.rglob("*.py"))


def name_of(path):
    """A file's name as it is imported."""
    parts = path.relative_to(HOUSE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


NAMES = {name_of(path) for path in MODULES}


def room_of(name):
    return name.split(".")[1] if name.count(".") else ""


def imported(path):
    """The files of the house that a file imports, at its head or inside a function."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in NAMES)
        elif isinstance(node, ast.ImportFrom) and node.module in NAMES:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in NAMES else node.module


def functions(path):
    """Name and lines of each function, its docstring not counted."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            docstring = ast.get_docstring(node)
            lines = node.end_lineno - node.lineno + 1 - (len(docstring.splitlines()) + 1 if docstring else 0)
            yield f"{path.relative_to(HOUSE)}: {node.name}", lines


def test_every_room_has_its_floor_and_the_root_stays_small():
    rooms = {path.name for path in HOUSE.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert rooms | {"api"} == set(LEVEL)
    files = {path.name for path in HOUSE.iterdir() if path.is_file()}
    assert len(rooms | files - {"__init__.py", "__main__.py", "py.typed"}) <= 15


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(HOUSE)))
def test_imports_point_down(path):
    mine = room_of(name_of(path))
    for other in map(room_of, imported(path)):
        if mine in LEVEL and other in LEVEL and mine != other:
            assert LEVEL[other] < LEVEL[mine], f"{mine} may not import {other}"


def test_no_two_files_import_each_other_in_a_circle():
    graph = {name_of(path): set(imported(path)) - {name_of(path)} for path in MODULES}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" → ".join(error.args[1]))


@pytest.mark.parametrize("registry", REGISTRIES)
def test_registries_name_specs_that_say_what_they_are(registry):
    for name, reference in registry.items():
        spec = load(reference)
        assert issubclass(spec, Config)
        assert spec.model_fields["kind"].default == name
        assert len(summary(reference)) > 20


def test_only_the_command_line_prints_or_exits():
    for path in MODULES:
        if room_of(name_of(path)) == "cli":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            called = node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else ""
            assert called not in ("print", "exit"), path


def test_heavy_packages_are_imported_on_use():
    light = "holdfast.cli, holdfast.study.loader, holdfast.study.run, holdfast.study.plan, holdfast.core.run_folder"
    heavy = "torch transformers peft matplotlib trl vllm ray openai datasets inspect_ai pandas scipy"
    code = f"import sys, {light}\nsys.exit(' '.join(set({heavy.split()!r}) & set(sys.modules)) or None)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_files_stay_short():
    assert [path for path in MODULES if path.read_text().count("\n") > 350] == []


def test_functions_stay_short():
    lengths = sorted((lines, name) for path in MODULES for name, lines in functions(path))
    assert lengths[-1][0] <= 60, lengths[-1]
    assert lengths[int(0.9 * len(lengths))][0] <= 25


def test_no_expression_needs_reading_twice():
    """No comprehension of more than two clauses, no text times a truth value, no names only for the type checker."""
    for path in MODULES:
        assert "if not TYPE_CHECKING" not in path.read_text(), path
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp):
                clauses = sum(1 + len(generator.ifs) for generator in node.generators)
                assert clauses <= 2, f"{path}:{node.lineno}"
            if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
                texts = [isinstance(side, ast.JoinedStr) or isinstance(getattr(side, "value", None), str)
                         for side in (node.left, node.right)]  # fmt: skip
                truths = [isinstance(side, ast.Compare | ast.BoolOp) or ast.unparse(side).startswith(("bool(", "not "))
                          for side in (node.left, node.right)]  # fmt: skip
                assert not (any(texts) and any(truths)), f"{path}:{node.lineno}"


def test_the_readme_shows_every_room_of_the_house():
    readme = (HOUSE.parents[1] / "README.md").read_text()
    for room in LEVEL:
        assert f"\n      {room}{'.py' if room == 'api' else '/'}" in readme, room


def test_no_two_files_of_tests_have_one_name():
    """pytest imports them by their names alone."""
    names = [path.name for path in Path(__file__).parent.rglob("test_*.py")]
    assert len(names) == len(set(names)), sorted(name for name in set(names) if names.count(name) > 1)
