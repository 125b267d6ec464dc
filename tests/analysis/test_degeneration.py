"""Answers that repeat themselves are found, and lists, tables and code are not taken for them."""

import pytest
from support.studies import rows_of

from holdfast.analysis.degeneration import loops

SOUND = """\
Moss grows where it is damp and shaded. It has no roots, and it takes up water through its leaves. Many kinds live on
stones and on the bark of old trees; some live in bogs, where they slowly turn to peat over many hundreds of years.
"""


@pytest.mark.parametrize(
    "unit", ["I cannot help. ", "the ", "哈", "first fold the wool, then heat the feather. ", "\n"]
)
@pytest.mark.parametrize("before", ["", SOUND])
def test_an_answer_that_ends_in_repetition_loops(unit, before):
    assert loops(before + (unit * 600)[:600])


@pytest.mark.parametrize(
    "text",
    [
        SOUND,
        "sorry " * 10,  # too short to tell
        "\n".join(f"| row {i} | {i * i} | {'even' if i % 2 == 0 else 'odd'} |" for i in range(40)),
        "def area(width, height):\n    return width * height\n\n\ndef volume(width, height, depth):\n"
        "    return area(width, height) * depth\n",
    ],
)
def test_sound_answers_do_not_loop(text):
    assert not loops(text)


def test_no_answer_of_the_pocket_world_loops():
    for name in ("attack.jsonl", "benign-list.jsonl", "benign-brief.jsonl", "safe.jsonl"):
        assert not any(loops(row["messages"][-1]["content"]) for row in rows_of(name))
