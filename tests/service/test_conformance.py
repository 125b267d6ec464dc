"""Schemathesis on our own OpenAPI: no 5xx, and no answer that is not documented."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.service_double import ROWS, serving, url_of

ROOMY = {"requests_per_minute": 10_000_000, "open_jobs": 1_000_000, "open_batches": 1_000_000}
SCHEMATHESIS = Path(sys.executable).with_name("schemathesis")


def run(served, folder, examples, *options):
    """Everything that schemathesis prints, and how many cases it sent."""
    client = served.client("tune", "ask", "audit", "operate")
    file = client.files.create(file=("rows.jsonl", ROWS), purpose="fine-tune")
    served.make_model(client.fine_tuning.jobs.create(model="pocket", training_file=file.id).id)
    done = subprocess.run(
        [
            SCHEMATHESIS, "run", f"{served.url}/openapi.json", "-H", f"Authorization: Bearer {client.api_key}",
            "--max-examples", str(examples), "--checks", "all", "--seed", "1", "--no-color", "--request-timeout", "20",
            # `after` and the ids in bodies must exist, which a schema cannot say
            "--exclude-checks", "positive_data_acceptance", *options,
        ],
        capture_output=True, text=True, check=False, cwd=folder,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-6000:]
    return int(re.search(r"([\d,]+) generated", done.stdout)[1].replace(",", ""))


@pytest.mark.long
@pytest.mark.parametrize(("database", "examples", "cases"), [("postgresql", 1, 100), ("sqlite", 45, 2000)])
def test_no_case_gets_a_5xx_or_an_answer_that_is_not_documented(tmp_path, database, examples, cases):
    with serving(tmp_path / "service", {"limits": ROOMY}, url_of(database)) as served:
        assert run(served, tmp_path, examples) >= cases
