import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from markupsafe import escape
from rich.console import Console
from support.audit_pages import audit, checks, transcripts
from support.results import agreement, cascade, estimate, facts, made, typed

from holdfast.core.results import RunResults
from holdfast.data.benchmarks.pocket import Pocket
from holdfast.report import figures, headline, layout, page, paper, pictures, prompt_view, svg, table

NASTY = '"><script>alert(1)</script>&$x$'


class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.text = [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text.append(data)


def parsed(html):
    parser = Tags()
    parser.feed(html)
    return parser


def test_the_page_says_how_the_prompts_differ_from_upstreams():
    results = made()
    results["evaluation"]["sets"]["harmfulness"] |= {"benchmark": "HEx-PHI", "notes": ["300 of 330", "1 left out"]}
    assert "Harmfulness prompts, HEx-PHI: 300 of 330; 1 left out." in page.render(typed(results))


def test_intervals_over_prompts_alone_are_marked():
    results = made()
    results["summary"][0]["harmfulness_rate"] = {**estimate(2.0, 100), "over": "prompts"}
    html = page.render(typed(results))
    assert "0.0 to 4.0*<" in html and "78.0 to 82.0<" in html
    assert "* Over prompts alone" in html
    assert "exact McNemar" not in html and "crossed, over prompts and seeds" in html


def test_cautions_are_on_the_page_and_name_their_condition():
    results = made()
    results["cautions"] = [
        {"kind": "one-seed", "condition": None, "text": "one seed was run"},
        {"kind": "calibration", "condition": "initial", "text": NASTY},
    ]
    html = page.render(typed(results))
    assert "<li>One seed was run.</li>" in html
    assert f"<li>initial: {escape(NASTY)}.</li>" in html


def test_text_from_outside_is_escaped_everywhere():
    transcript = {"condition": NASTY, "seed": 0, "set": "harmfulness", "category": NASTY, "prompt_id": NASTY, "prompt": NASTY,
                  "answer": NASTY, "outcome": "answered", "score": 5, "reading": "scored"}  # fmt: skip
    results = made(NASTY, NASTY)
    results["evaluation"]["sets"]["harmfulness"] |= {"benchmark": NASTY, "notes": [NASTY]}
    results["agreement"], results["cascade"] = [agreement(NASTY)], [cascade(NASTY)]
    results["trust"] = {"ok": False, "reasons": [NASTY]}
    for one in results["summary"]:
        one["harmfulness_rate_corrected"] = {**estimate(70.0, 100), "method": NASTY}
    html = page.render(typed(results), [transcript])
    parser = parsed(html)
    assert [attributes.get("type") for tag, attributes in parser.tags if tag == "script"] == ["application/json", None]
    assert "".join(parser.text).count("alert(1)") >= 18
    assert not any(name.startswith("on") for _, attributes in parser.tags for name in attributes)


def test_a_reproductions_page_escapes_too():
    results = made(NASTY, NASTY)
    claim = {"claim": NASTY, "table": NASTY, "verdict": "inconclusive", "effect": None, "low": None, "high": None,
             "margin": 0.0, "p_value": 1.0, "seen": NASTY, "reason": NASTY, "test": NASTY}  # fmt: skip
    block = paper.Block("table1", NASTY, (NASTY,), (paper.Line(NASTY, ((NASTY, NASTY),), True),))
    results["trust"] = {"ok": False, "reasons": [f"because {NASTY}"]}
    html = page.render_reproduction(typed(results), [claim], [block], {NASTY: figures.radars(typed(results))})
    parser = parsed(html)
    assert f"because {NASTY}" in "".join(parser.text)
    assert not {"link", "img", "iframe"} & {tag for tag, _ in parser.tags}
    assert len([tag for tag, _ in parser.tags if tag == "script"]) == 1
    assert "".join(parser.text).count("alert(1)") >= 10
    assert not any(name.startswith("on") for _, attributes in parser.tags for name in attributes)


def test_the_page_fetches_nothing():
    html = page.render_audit(audit(), typed(made()))
    policy = parsed(html).tags[4][1]["content"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-") and "unsafe" not in policy
    addresses = []
    for tag, attributes in parsed(html).tags:
        assert tag not in ("link", "iframe", "img", "base", "object"), tag
        assert not {"src", "srcset", "style", "action", "ping"} & set(attributes), tag
        addresses += [value for name, value in attributes.items() if name in ("href", "xlink:href")]
    assert {address for address in addresses if not address.startswith("#")} == {"audit.json", "results.json"}
    anchors = {attributes["id"] for _, attributes in parsed(html).tags if "id" in attributes}
    assert {address[1:] for address in addresses if address.startswith("#")} <= anchors


def test_answers_are_hidden_unless_given():
    row = {"condition": "harmful", "seed": 0, "set": "harmfulness", "category": "hex", "prompt_id": "p1", "prompt": "the question",
           "answer": "the secret", "outcome": "answered", "score": 5, "reading": "scored"}  # fmt: skip
    hidden = page.render(typed(made()), scores=[row])
    assert "the secret" not in hidden and "the question" not in hidden and "p1" in hidden
    shown = page.render(typed(made()), [row])
    assert "the secret" in shown and "the question" in shown
    record = audit(5)
    rows = transcripts(record, answer="the secret")
    assert "the secret" in page.render_audit(record, typed(made()), rows)
    asked = [{"set": prompt.set, "id": prompt.id, "prompt": "the secret"} for prompt in record.prompts]
    assert "the secret" not in page.render_audit(record, typed(made()))
    assert "the secret" not in page.render_audit(record, typed(made()), prompts=asked)
    assert "the secret" in page.render_audit(record, typed(made()), rows[:1], asked)


def test_long_answers_are_cut_and_say_so():
    record = audit(5)
    html = page.render_audit(record, typed(made()), transcripts(record, answer="a" * 2500))
    assert "a" * 2001 not in html and "(500 more characters)" in html


@pytest.mark.parametrize("n", [330, 3300])
def test_a_page_with_all_answers_stays_small(n):
    record = audit(n)
    html = page.render_audit(record, typed(made()), transcripts(record, answer="word " * 300))
    assert len(html.encode()) < n / 330 * 2e6


def test_a_stand_in_is_labelled_and_another_model_is_not():
    results = made()
    assert layout.STAND_IN in page.render(typed(results))
    results["model"]["stand_in"] = False
    assert layout.STAND_IN not in page.render(typed(results))


def test_missing_verdicts_are_said_with_their_bounds():
    results = made()
    results["summary"][1]["harmfulness_rate"]["missing"] = 7
    for condition in results["conditions"]:
        condition["harmfulness_rate"] = {**condition["harmfulness_rate"], "missing": 7}
    html = page.render(typed(results))
    assert "28 answers have no score" in html
    assert "7 missing: 79.0 to 81.0" in html


def test_the_page_and_the_table_say_what_to_know_of_the_judges():
    results = made()
    results["agreement"], results["cascade"] = [agreement("oracle-1")], [cascade("cascade-1")]
    results["trust"] = {"ok": False, "reasons": ["harmful, seed 0: 40 of 330 prompts have no score"]}
    for one in results["summary"]:
        one["harmfulness_rate_corrected"] = {**estimate(70.0, 100), "method": "Rogan–Gladen, 99 labelled answers"}
    notes = layout.judge_notes(typed(results))
    assert notes == [
        "Rate, corrected (%): Rogan–Gladen, 99 labelled answers.",
        "cascade-1 (harmfulness) saved 75.8 % of 660 costly calls; that moves the share of 5s by −0.4 points "
        "(−2.0 to 1.3), estimated from 30 of its verdicts that the costly one read too.",
    ]
    html = page.render(typed(results))
    for text in (
        *notes,
        "harmful, seed 0: 40 of 330 prompts",
        "<b>0.80</b>",
        "0.70 to 0.90",
        "<b>18</b>",
        "Not to be trusted",
    ):
        assert text in html
    titles = [title for title, _ in layout.groups(typed(results))[0].rows]
    assert titles[1:3] == ["Harmfulness rate (%)", "Rate, corrected (%)"]
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(*table.tables(typed(results)))
    assert "68.0 to 72.0" in console.export_text()


def test_a_run_without_any_score_is_shown_without_figures():
    results = made()
    for one in results["summary"] + results["conditions"]:
        for metric in ("harmfulness_score", "harmfulness_rate"):
            empty = {"value": None, "low": None, "high": None, "missing": 330}
            one[metric] = {**one[metric], **empty}
            for category in one["by_category"].values():
                category[metric] = {**category[metric], **empty}
    results["comparisons"] = []
    assert "–" in page.render(typed(results))


def test_the_table_is_in_the_papers_layout_with_change_and_interval():
    console = Console(width=120, record=True, file=io.StringIO())
    for shown in table.tables(typed(made())):
        console.print(shown)
    text = console.export_text()
    assert re.search(r"initial .*harmful", text)
    assert re.search(r"Harmfulness rate \(%\).*2\.0.*80\.0 \(\+78\.0\)", text)
    assert "78.0 to 82.0" in text


def test_conditions_stand_beside_the_initial_model_that_was_asked_alike():
    results = made()
    results["summary"].append({**results["summary"][0], "name": "initial-obedient"})
    results["settings"]["initial-obedient"] = facts("initial", "obedient")
    results["summary"].append({**results["summary"][1], "name": "shifted"})
    results["settings"]["shifted"] = facts("tuned", "obedient")
    assert [group.names for group in layout.groups(typed(results))] == [
        ("initial", "harmful"),
        ("initial-obedient", "shifted"),
    ]


@pytest.mark.long
def test_figures_are_valid_svg_and_the_same_each_time():
    results = made("a < b & $c$")
    for draw in (figures.radars, lambda results: [figures.bars(results)]):
        first = [drawing.svg() for drawing in draw(typed(results))]
        assert first == [drawing.svg() for drawing in draw(typed(results))]
        assert all(ElementTree.fromstring(svg).tag.endswith("svg") for svg in first)
    assert "a &lt; b &amp; $c$" in figures.radars(typed(results))[0].svg()


def test_small_p_values_are_never_zero():
    assert (layout.p_value(0.0), layout.p_value(0.04)) == ("< 0.001", "0.040")


def test_an_audit_says_whose_prompts_it_asked():
    results = made()
    results["evaluation"]["sets"]["harmfulness"]["benchmark"] = Pocket().load().name
    html = " ".join(page.render_audit(audit(), typed(results)).split())
    assert "330 harmful prompts of the pocket world, 1 seed" in html


def test_the_top_of_an_audit_has_the_answer_and_three_figures():
    top = headline.of_audit(audit())
    assert (top.word, top.state, top.icon) == ("Fail", "fail", "fail")
    assert top.sentence.startswith("The harmfulness rate rose by 78.2 points")
    rate, flips, third = top.figures
    assert (rate.before, rate.value, rate.note) == (
        "0.6 %",
        "78.8 %",
        "+78.2 points, 95 % interval 73.1 to 82.8 over prompts",
    )
    assert (flips.value, flips.note) == ("165", "of 330; 33 turned safe")
    assert third.label == "Harmfulness score (1–5)"  # cannot tell weighs more than what passes


def test_the_third_figure_is_the_margin_that_weighs_most():
    record = audit()
    failed = [replace(check, answer="fail") if check.metric == "utility" else check for check in checks()]
    top = headline.of_audit(replace(record, decision=replace(record.decision, checks=tuple(failed))))
    assert [figure.label for figure in top.figures] == ["Harmfulness rate", "Prompts that turned harmful", "Utility"]


@pytest.mark.parametrize(
    ("answer", "state"), [("pass", "pass"), ("cannot tell", "unknown"), ("not to be trusted", "distrust")]
)
def test_each_answer_has_a_word_an_icon_and_a_colour_of_its_own(answer, state):
    record = audit()
    html = page.render_audit(replace(record, decision=replace(record.decision, answer=answer)), typed(made()))
    assert f'<div class="decision {state}">' in html
    assert f'<p class="word">{answer.capitalize()}</p>' in html
    icons = {
        name: page._environment().get_template("macros.html.j2").module.icon(name) for name in headline.STATES.values()
    }
    assert len(set(icons.values())) == 4


def test_the_top_of_a_study_names_the_worst_condition():
    results = made()
    worse = {**results["comparisons"][0], "name": "worse", "tuned": 90.0, "difference": 88.0, "low": 80.0}
    results["comparisons"].append(worse)
    results["summary"].append({**results["summary"][1], "name": "worse"})
    results["settings"]["worse"] = facts("tuned")
    top = headline.of_run(typed(results))
    assert top.word == "Harmfulness rose in 2 of 2 tuned conditions"
    assert [figure.label for figure in top.figures][:2] == ["Harmfulness rate, worse", "Harmfulness rate, harmful"]
    for one in results["comparisons"]:
        one["low"] = -1.0
    assert headline.of_run(typed(results)).word == "No rise in harmfulness shown"


def test_a_checks_picture_puts_zero_and_margin_in_one_place_in_all_rows():
    drawn = [pictures.of_check(check) for check in checks() if check.change is not None]
    assert {picture.zero for picture in drawn} == {33.33} and {picture.limit for picture in drawn} == {55.56}
    rate, score, refusal = drawn[:3]
    assert rate.beyond == "right" and rate.value == 100.0
    assert score.low < score.limit < score.high
    assert refusal.high < refusal.limit
    assert pictures.of_check(checks()[4]) is None
    assert pictures.of_check(replace(checks()[2], margin=0.0)).limit == 33.33


def test_prompts_of_a_study_turn_by_most_of_their_samples():
    results: RunResults = typed(made())
    scores = {("initial", "a"): (1, 1), ("harmful", "a"): (5, 5), ("initial", "b"): (5, 5), ("harmful", "b"): (1, 5),
              ("initial", "c"): (1, None), ("harmful", "c"): (None, None)}  # fmt: skip
    rows = [{"condition": name, "seed": seed, "set": "harmfulness", "category": "hex", "prompt_id": prompt, "score": score}
            for (name, prompt), both in scores.items() for seed, score in enumerate(both)]  # fmt: skip
    view = prompt_view.of_run(results, rows, texts=False)
    assert view.pairs[0].flips == ("harmful", "safe", "")
    assert view.scores == ((1, 5, 1), (5, 3, None))
    assert json.loads(view.data)["pairs"][0]["flips"] == "hs."


def test_what_nobody_sees_is_shown_by_its_number():
    assert layout.visible("a\u202eb\x00c\ud800\u2028") == "a⟨U+202E⟩b⟨U+0000⟩c⟨U+D800⟩⟨U+2028⟩"
    assert layout.visible("two\nlines\tand äöü 中文 \U0001f600") == "two\nlines\tand äöü 中文 \U0001f600"
    html = page.render_audit(audit(5, text="\ud800\u202e"), typed(made()))
    assert "\u202e" not in html and html.encode()


def test_figures_on_pages_follow_the_pages_colours():
    drawn = svg.inline(figures.radars(typed(made("<b>&")))[0])
    root = ElementTree.fromstring(drawn)
    assert {"style", "metadata"}.isdisjoint({element.tag for element in root.iter()})
    attributes = [element.attrib for element in root.iter()]
    assert not any("style" in one for one in attributes)
    colours = {one[name] for one in attributes for name in ("fill", "stroke") if name in one}
    assert {"var(--c1)", "var(--c2)"} < colours and "#000000" not in colours
    used = re.findall(r"#([\w.-]+)", " ".join(value for one in attributes for value in one.values()))
    assert {one["id"] for one in attributes if "id" in one} <= set(used)


STYLE = (Path(page.__file__).parent / "templates" / "style.css").read_text()
SCHEMES = [
    dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", block)) for block in re.findall(r":root \{(.*?)\}", STYLE, re.DOTALL)
]
DEFICIENCIES = {
    "protan": ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)),
    "deutan": ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.01182, 0.04294, 0.968881)),
    "tritan": ((1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602), (0.004733, 0.691367, 0.3039)),
    "none": np.eye(3),
}
"""Machado, Oliveira & Fernandes 2009, table 1, severity 1.0: what is left of linear RGB."""


def linear(colour):
    value = np.array([int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)])
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def lab(rgb):
    """CIE L*a*b* of linear sRGB."""
    xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]) @ np.clip(rgb, 0, 1)
    ratio = xyz / (0.9505, 1.0, 1.089)
    x, y, z = np.where(ratio > 0.008856, np.cbrt(ratio), 7.787 * ratio + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def contrast(one, other):
    """WCAG 2's contrast ratio."""
    light = sorted(linear(colour) @ (0.2126, 0.7152, 0.0722) + 0.05 for colour in (one, other))
    return light[1] / light[0]


@pytest.mark.parametrize("scheme", SCHEMES, ids=("light", "dark"))
def test_colours_can_be_read_and_told_apart(scheme):
    for name in ("ink", "quiet", "accent", "fail", "unknown", "c1", "c2", "c3", "c4", "c5"):
        assert min(contrast(scheme[name], scheme[ground]) for ground in ("paper", "card")) >= 4.5, name
    assert contrast(scheme["on-yellow"], scheme["yellow"]) >= 4.5
    for kind, matrix in DEFICIENCIES.items():
        seen = [lab(np.array(matrix) @ linear(scheme[name])) for name in ("accent", "fail", "unknown", "yellow")]
        apart = [np.linalg.norm(one - other) for place, one in enumerate(seen) for other in seen[:place]]
        assert min(apart) > 20, (kind, apart)
