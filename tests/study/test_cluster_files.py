"""The files for clusters say what Ray's launcher reads, and name commands and extras that there are."""

import json
import tomllib
from pathlib import Path

import jsonschema
import pytest
import yaml

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"


def read(name):
    return yaml.safe_load((DEPLOY / name).read_text())


def test_the_launchers_file_fits_rays_schema():
    ray = pytest.importorskip("ray")
    schema = json.loads((Path(ray.__file__).parent / "autoscaler" / "ray-schema.json").read_text())
    jsonschema.validate(read("ray.yaml"), schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**read("ray.yaml"), "workers": 8}, schema)


def test_the_heads_do_no_tasks_and_workers_have_a_gpu():
    launched, job = read("ray.yaml"), read("kuberay.yaml")["spec"]
    assert launched["available_node_types"][launched["head_node_type"]]["resources"] == {"CPU": 0, "GPU": 0}
    assert launched["available_node_types"]["gpu"]["resources"]["GPU"] == 1
    cluster = job["rayClusterSpec"]
    assert cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    [worker] = cluster["workerGroupSpecs"][0]["template"]["spec"]["containers"]
    assert worker["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert job["entrypoint"].startswith("holdfast run") and "--ray auto" in job["entrypoint"]


def test_versions_and_extras_are_those_of_the_project():
    locked = dict(
        line.split()[0].split("==") for line in (ROOT / "requirements.lock").read_text().splitlines() if "==" in line
    )
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    image = (DEPLOY / "Dockerfile.ray").read_text()
    assert {"ray", "s3"} <= extras.keys()
    assert f"rayproject/ray:{locked['ray']}-" in image
    assert read("kuberay.yaml")["spec"]["rayClusterSpec"]["rayVersion"] == locked["ray"]
    for text in (image, (DEPLOY / "ray.yaml").read_text()):
        assert "[ray,s3]" in text
