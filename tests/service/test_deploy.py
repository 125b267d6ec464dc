"""The files of deploy/ name only what there is: commands, options, variables of the environment, files."""

import configparser
import re
from pathlib import Path

import yaml
from typer.testing import CliRunner

from holdfast.cli import app

DEPLOY = Path(__file__).parents[2] / "deploy"
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())


def help_of(*command):
    done = CliRunner().invoke(app, [*command, "--help"], env={"COLUMNS": "200", "TERM": "dumb", "NO_COLOR": "1"})
    assert done.exit_code == 0
    return done.output


def test_variables_and_options_are_those_of_the_command():
    text = "".join((DEPLOY / name).read_text() for name in ("Dockerfile", "compose.yaml", "holdfast.service"))
    source = (DEPLOY.parent / "src/holdfast/cli/serve.py").read_text()
    for variable in set(re.findall(r"HOLDFAST_SERVE_[A-Z]+", text)):
        assert f'envvar="{variable}"' in source, variable
    shown = help_of("serve")
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str
    unit.read(DEPLOY / "holdfast.service")
    options = re.findall(r"--[a-z-]+", unit["Service"]["ExecStart"] + re.search(r"CMD \[\"--host.*", text)[0])
    assert options and all(option in shown for option in options)
    assert "Tune for a service" in help_of("serve", *COMPOSE["services"]["worker"]["command"])


def test_service_and_worker_share_database_and_folder_and_wait_for_it():
    service, worker = COMPOSE["services"]["service"], COMPOSE["services"]["worker"]
    for name in ("environment", "volumes", "configs", "depends_on"):
        assert service[name] == worker[name]
    assert service["environment"]["HOLDFAST_SERVE_DATABASE"].startswith("postgresql://holdfast:${POSTGRES_PASSWORD:?")
    assert all(port.startswith("127.0.0.1:") for port in service["ports"]), "nobody else's network"
    policy = COMPOSE["configs"]["policy"]["file"].partition(":-")[2].rstrip("}")
    assert (DEPLOY / policy).is_file()
    assert (DEPLOY / COMPOSE["x-holdfast"]["build"]["context"] / COMPOSE["x-holdfast"]["build"]["dockerfile"]).is_file()


def test_the_image_gets_what_it_copies():
    kept = [line[1:] for line in (DEPLOY / "Dockerfile.dockerignore").read_text().split() if line.startswith("!")]
    for line in re.findall(r"^COPY (?!--)(.*)$", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE):
        for name in line.split()[:-1]:
            assert name in kept and (DEPLOY.parent / name).exists(), name
