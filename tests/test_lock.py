"""What `make` installs, requirements.lock and the Makefile's TORCH, is what pyproject.toml asks for."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = {"": PROJECT["dependencies"], **PROJECT["optional-dependencies"]}
PYTHONS = [name.split(" :: ")[-1] for name in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", name)]
SYSTEMS = {"linux": "x86_64", "darwin": "arm64", "win32": "AMD64"}
LOCK = [
    Requirement(line.partition("#")[0])
    for line in (ROOT / "requirements.lock").read_text().splitlines()
    if not line.startswith("#")
]
TORCH = Requirement(re.search(r"^TORCH \?= (.*)$", (ROOT / "Makefile").read_text(), re.M)[1])


def versions(name, python, system):
    """The versions of a package that are pinned for a Python and a system."""
    environment = {
        "python_version": python, "python_full_version": f"{python}.9", "sys_platform": system,
        "platform_machine": SYSTEMS[system],
    }  # fmt: skip
    pins = [pin for pin in [*LOCK, TORCH] if pin.name == name and (not pin.marker or pin.marker.evaluate(environment))]
    return [next(iter(pin.specifier)).version for pin in pins]


@pytest.mark.parametrize(
    ("extra", "asked"), [(extra, asked) for extra, requirements in EXTRAS.items() for asked in requirements]
)
def test_each_dependency_has_one_version_in_the_lock_that_is_in_its_range(extra, asked):
    requirement = Requirement(asked)
    for python in PYTHONS:
        for system in SYSTEMS:
            [version] = versions(canonicalize_name(requirement.name), python, system)
            assert version in requirement.specifier, f"run `make lock`: {asked} of the extra '{extra}' is at {version}"


def test_every_pin_is_an_exact_version_and_says_nothing_of_where_it_comes_from():
    for pin in [*LOCK, TORCH]:
        assert [specifier.operator for specifier in pin.specifier] == ["=="], pin
        assert pin.url is None, pin
    assert "://" not in (ROOT / "requirements.lock").read_text()


def test_the_lock_leaves_the_choice_of_a_build_of_torch_to_the_machine():
    names = {pin.name for pin in LOCK}
    assert "torch" not in names
    assert not [name for name in names if name.startswith(("nvidia-", "cuda-", "triton"))]


def test_each_python_that_the_project_names_may_install_it():
    assert PYTHONS[0] == PROJECT["requires-python"].removeprefix(">=")
