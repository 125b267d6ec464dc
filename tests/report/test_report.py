import http.server
import io
import json
import re
import shutil
import subprocess
import threading
from functools import partial
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest
from markupsafe import escape
from rich.console import Console
from support.results import agreement, cascade, estimate, facts, made, typed

from holdfast.report import figures, layout, page, paper, table

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
    transcript = {"condition": NASTY, "category": NASTY, "prompt": NASTY, "answer": NASTY, "outcome": "answered",
                  "score": 5, "reading": "scored"}  # fmt: skip
    results = made(NASTY, NASTY)
    results["evaluation"]["sets"]["harmfulness"] |= {"benchmark": NASTY, "notes": [NASTY]}
    results["agreement"], results["cascade"] = [agreement(NASTY)], [cascade(NASTY)]
    results["trust"] = {"ok": False, "reasons": [NASTY]}
    for one in results["summary"]:
        one["harmfulness_rate_corrected"] = {**estimate(70.0, 100), "method": NASTY}
    html = page.render(typed(results), [transcript])
    parser = parsed(html)
    assert "script" not in {tag for tag, _ in parser.tags}
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
    assert not {"script", "link", "img", "iframe"} & {tag for tag, _ in parser.tags}
    assert "".join(parser.text).count("alert(1)") >= 10
    assert not any(name.startswith("on") for _, attributes in parser.tags for name in attributes)


def test_the_page_fetches_nothing():
    html = page.render(typed(made()))
    assert "default-src 'none'" in html
    for tag, attributes in parsed(html).tags:
        assert tag not in ("script", "link", "iframe", "img"), tag
        for name, value in attributes.items():
            assert name not in ("src",) and not (name == "href" and not value.startswith("#")), (tag, name)


def test_answers_are_hidden_unless_given():
    row = {"condition": "initial", "category": "hex", "prompt": "How?", "answer": "the secret", "outcome": "answered",
           "score": 5, "reading": "scored"}  # fmt: skip
    assert "the secret" not in page.render(typed(made()))
    assert "the secret" in page.render(typed(made()), [row])


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
    for text in (*notes, "harmful, seed 0: 40 of 330 prompts", "<b>0.80</b>", "0.70 to 0.90", "<b>18</b>"):
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


def test_figures_are_valid_svg_and_the_same_each_time():
    results = made("a < b & $c$")
    for draw in (figures.radars, lambda results: [figures.bars(results)]):
        first = [drawing.svg() for drawing in draw(typed(results))]
        assert first == [drawing.svg() for drawing in draw(typed(results))]
        assert all(ElementTree.fromstring(svg).tag.endswith("svg") for svg in first)
    assert "a &lt; b &amp; $c$" in figures.radars(typed(results))[0].svg()


def test_small_p_values_are_never_zero():
    assert (layout.p_value(0.0), layout.p_value(0.04)) == ("< 0.001", "0.040")


WIDTHS = (1280, 390)
FRAME = """<!doctype html><title>frame</title><body style="margin:0"><iframe id=f src="report.html" width={width} height={height}
style="border:0;display:block"></iframe><script>
f.onload = () => {{ const d = f.contentDocument, r = d.documentElement;
document.title = JSON.stringify({{wide: r.scrollWidth, tall: r.scrollHeight, svgs: d.querySelectorAll("svg").length,
hidden: [...d.querySelectorAll("svg, table, h2")].filter(e => !e.getBoundingClientRect().height).length}}); }}</script>"""


@pytest.fixture(scope="module")
def browser():
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not found:
        pytest.skip("no Chromium on this machine: install the package `chromium` to look at the page")
    return found


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.mark.parametrize("width", [WIDTHS[0], pytest.param(WIDTHS[1], marks=pytest.mark.long)])
def test_the_page_shows_everything_in_a_browser(tmp_path, browser, width):
    """Opened in headless Chromium: no console error, nothing wider than the window, screenshots kept under runs/."""
    results = made()
    results["agreement"] = [agreement("a-judge-with-a-long-name-0a1b2c3d")]
    results["trust"] = {"ok": False, "reasons": ["harmful, seed 0: 40 of 330 prompts have no score"]}
    (tmp_path / "report.html").write_text(page.render(typed(results)))
    (tmp_path / "frame.html").write_text(FRAME.format(width=width, height=4200))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=tmp_path))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    shot = tmp_path / f"page-{width}.png"
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
             "--disable-component-update", "--disable-sync", "--enable-logging=stderr", f"--user-data-dir={tmp_path}/user",
             f"--window-size={width},4200", "--virtual-time-budget=3000"]  # fmt: skip
    url = f"http://127.0.0.1:{server.server_port}/frame.html"
    try:
        dom = subprocess.run(
            [browser, *flags, "--dump-dom", url], capture_output=True, text=True, timeout=60, check=True
        )
        subprocess.run([browser, *flags, f"--screenshot={shot}", url], capture_output=True, timeout=60, check=True)
    finally:
        server.shutdown()
        server.server_close()
    console = [line for line in dom.stderr.splitlines() if "CONSOLE" in line and "favicon" not in line]
    assert not console
    seen = json.loads(re.search(r"<title>(.*?)</title>", dom.stdout)[1].replace("&quot;", '"'))
    assert seen["wide"] <= width, "the page is wider than the window"
    assert (seen["svgs"], seen["hidden"]) == (2, 0)
    assert shot.stat().st_size > 20_000
