"""The house keeps its shape: imports point one way, registries name what is there, heavy packages stay out."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import holdfast
from holdfast import benchmarks, data, defences, generate, judge, tune
from holdfast.judge import asking
from holdfast.spec import Spec, load, summary

HOUSE = Path(holdfast.__file__).parent
LAYERS = [
    {"types", "protocols", "errors"},
    {
        "files",
        "lines",
        "spec",
        "chat",
        "models",
        "ledger",
        "endpoint",
        "store",
        "book",
        "scale",
        "stats",
        "intervals",
        "inspect_task",
        "agreement",
        "calibration",
        "labels",
    },
    {"data", "benchmarks", "tune", "defences", "generate", "judge", "report", "pocket"},
    {"settings"},
    {"study"},
    {"plan", "results", "judging", "assay", "costs"},
    {"claims", "run", "doctor"},
    {"reproduce", "inspecting"},
    {"cli"},
]
ROOMS = LAYERS[2]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
REGISTRIES = [
    benchmarks.BENCHMARKS, data.SOURCES, defences.DEFENCES, generate.GENERATORS, judge.JUDGES, asking.ASKERS, tune.TUNERS,
]  # fmt: skip


def modules():
    return [path for path in HOUSE.rglob("*.py") if path.parent != HOUSE or not path.name.startswith("__")]


def part(path):
    return path.relative_to(HOUSE).parts[0].removesuffix(".py")


def imported(path):
    """The parts of the house that a module imports."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = (
                [f"{node.module}.{alias.name}" for alias in node.names] if node.module == "holdfast" else [node.module]
            )
        else:
            continue
        for name in names:
            if name.startswith("holdfast.") and name.split(".")[1] in LEVEL:
                yield name.split(".")[1]


def test_every_module_has_its_layer():
    assert {part(path) for path in modules()} == set(LEVEL)


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(HOUSE)))
def test_imports_point_one_way(path):
    mine = part(path)
    for other in imported(path):
        assert LEVEL[other] <= LEVEL[mine], f"{mine} may not import {other}"
        assert other == mine or not {mine, other} <= ROOMS, f"the rooms {mine} and {other} may not import each other"


@pytest.mark.parametrize("registry", REGISTRIES)
def test_registries_name_specs_that_say_what_they_are(registry):
    for name, reference in registry.items():
        spec = load(reference)
        assert issubclass(spec, Spec)
        assert spec.model_fields["kind"].default == name
        assert len(summary(reference)) > 20


def test_only_the_command_line_prints_or_exits():
    for path in modules():
        if part(path) == "cli":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            called = node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else ""
            assert called not in ("print", "exit"), path


def test_heavy_packages_are_imported_on_use():
    light = "holdfast.cli, holdfast.study, holdfast.run, holdfast.plan, holdfast.store"
    heavy = "torch transformers peft matplotlib trl vllm ray openai datasets inspect_ai"
    code = f"import sys, {light}\nsys.exit(' '.join(set({heavy.split()!r}) & set(sys.modules)) or None)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_functions_and_files_stay_short():
    for path in modules():
        assert path.read_text().count("\n") <= 350, path


def test_the_readme_shows_every_part_of_the_house():
    readme = (HOUSE.parents[1] / "README.md").read_text()
    for name in LEVEL:
        assert f"{name}.py" in readme or f"{name}/" in readme, name
