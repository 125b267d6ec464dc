import json
import subprocess
import sys

import pytest

from holdfast.core.budget import FileBudget
from holdfast.core.errors import BudgetError

SPEND = """
import sys
from pathlib import Path
from holdfast.core.errors import BudgetError
from holdfast.core.budget import FileBudget
budget, bought = FileBudget(Path(sys.argv[1]), 60), 0
try:
    for _ in range(50):
        budget.settle(budget.reserve(2, "a hex"), 1)
        bought += 1
except BudgetError:
    pass
print(bought)
"""


def test_processes_that_share_a_budget_keep_its_cap_together(tmp_path):
    path = tmp_path / "spending.jsonl"
    command = [sys.executable, "-c", SPEND, str(path)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    bought = [int(process.communicate(timeout=30)[0]) for process in processes]
    assert FileBudget(path).spent == sum(bought)
    # The last one that each could not buy may still have been settled by another.
    assert 57 <= sum(bought) <= 60


def test_what_was_set_aside_and_never_settled_counts_as_spent(tmp_path):
    path = tmp_path / "spending.jsonl"
    FileBudget(path).reserve(6, "a jinx")
    later = FileBudget(path, max_usd=10)
    assert later.spent == 6
    with pytest.raises(BudgetError, match=r"a hex can cost \$5.0000, but \$6.0000 of the cap of \$10.00 is spent"):
        later.reserve(5, "a hex")
    later.settle(later.reserve(4, "a hex"), 1)
    assert later.spent == 7


def test_what_was_settled_for_less_is_free_again(tmp_path):
    budget = FileBudget(tmp_path / "spending.jsonl", max_usd=10)
    for _ in range(5):
        budget.settle(budget.reserve(9, "a hex"), 0.1)
    assert budget.spent == pytest.approx(0.5)


@pytest.mark.parametrize("kept", [9, -1])
def test_a_last_line_that_was_cut_off_costs_no_other_line(tmp_path, kept):
    path = tmp_path / "spending.jsonl"
    before = FileBudget(path)
    before.reserve(1, "first")
    whole = path.read_bytes()
    before.reserve(2, "second")
    path.write_bytes(whole + path.read_bytes()[len(whole) :][:kept])
    after = FileBudget(path)
    assert after.spent == 1
    after.settle(after.reserve(4, "third"), 3)
    # Nothing was bought by it: that begins only once the whole line is on the disk.
    assert after.spent == FileBudget(path).spent == 4
    assert {"ticket", "usd", "what"} == json.loads(path.read_text().splitlines()[-1]).keys()


def test_work_that_costs_nothing_leaves_no_file_behind(tmp_path):
    budget = FileBudget(tmp_path / "spending.jsonl", max_usd=0)
    budget.settle(budget.reserve(0, "a hex"), 0)
    assert not (tmp_path / "spending.jsonl").exists()
