"""The page, Markdown and LaTeX of attacks on defences say the same figures, and show names as text."""

import re
from dataclasses import replace

import pytest
from support import arena as made
from support.results import typed

from holdfast.analysis import arena
from holdfast.core.arena_record import ARENA_FILE, ArenaRecord
from holdfast.core.record_file import text_of
from holdfast.report import arena as shown
from holdfast.report import page

NASTY = "<img src=x>|@team\\end{table}_&%"


def record(text=""):
    return arena.record_of(typed(made.results(text)))


def rendered(text=""):
    results = typed(made.results(text))
    found = arena.record_of(results)
    points = {each.name: point for each in found.defences if (point := arena.point_of(each))}
    return page.render_arena(results, found, points)


def test_every_rate_is_in_every_form():
    found = record()
    forms = {"html": rendered(), "markdown": shown.as_markdown(found), "latex": shown.as_latex(found)}
    for form, text in forms.items():
        for cell in found.cells:
            assert f"{cell.rate.value:.1f}" in text, (form, cell.condition)
        for said in ("80.0", "least 60.0", "99.5"):  # task learnt, its least, utility kept
            assert said in text, (form, said)


def test_the_worst_case_is_named_with_its_attack():
    line = next(line for line in shown.as_markdown(record()).splitlines() if line.startswith("| **loose**"))
    assert re.findall(r"(\d+\.\d) \((\w+);", line) == [("15.0", "harm"), ("80.0", "mixed"), ("80.0", "mixed")]
    assert "of all, tight has the smallest worst case: 2.0 % under mixed" in shown.verdict(record())
    assert "The nearest is tight" in shown.verdict(record())


def test_a_defence_that_teaches_nothing_is_not_named_as_the_best():
    defences = [each for each in record().defences if each.name != "none"]
    tight, loose = defences
    learnt = replace(loose, task_gain=100.0, utility_kept=99.0)
    assert shown.smallest([tight, learnt]) == (learnt, "of the 1 that keep 95 % of task and utility,")
    assert shown.smallest([tight, loose]) == (tight, "of all,")


def test_names_of_others_stay_text():
    html, markdown, latex = rendered(NASTY), shown.as_markdown(record(NASTY)), shown.as_latex(record(NASTY))
    assert "<img" not in html and "&lt;img src=x&gt;" in html
    assert "<img" not in markdown and "@team" not in markdown
    columns = {line.count("|") - line.count("\\|") for line in markdown.splitlines() if line.startswith("| ")}
    assert len(columns) == 2  # those of the overview and of the whole table
    assert latex.count(r"\end{table}") == 2 and r"\textbackslash{}end\{table\}\_\&\%" in latex


def test_what_machines_read_is_what_was_written():
    assert ARENA_FILE.parse(text_of(record()).encode(), ArenaRecord) == record()


@pytest.mark.parametrize("names", [[], ["tight"]])
def test_a_picture_needs_no_defence_to_be_drawn(names):
    found = record()
    points = {each.name: arena.point_of(each) for each in found.defences if each.name in names}
    svg = shown.picture(found, points).svg()
    assert svg.startswith("<svg") and ("orange" not in svg)
