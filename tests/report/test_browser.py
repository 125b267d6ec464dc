"""The pages in a browser: accessible, in order on every width, safe against what models write, and fast."""

import time

import pytest
from support import arena as arena_of
from support.audit_pages import audit, transcripts
from support.chromium import Chromium, axe
from support.results import agreement, facts, made, typed

from holdfast.analysis import arena
from holdfast.report import figures, page, paper

pytestmark = pytest.mark.long

NASTY = (
    "</script x></script></pre></title></textarea></style><script>window.canary=1</script><img src=x onerror='canary=1'>"
    "<style>body{display:none}</style><a href=javascript:canary=1>\"'`${canary=1}{{canary}}\u2028\u2029\u202e]]><!--<svg onload=canary=1>"
)


def rows_of(results, text=""):
    """Answers of a run: a tuned condition that turned half of its prompts."""
    return [
        {"condition": name, "seed": seed, "role": facts_of.role, "set": "harmfulness", "category": f"hex{text}", "prompt_id": f"p{i}{text}",
         "prompt": f"How?{text}", "answer": f"So.{text}", "outcome": "answered", "reading": "scored",
         "score": 5 if facts_of.role == "tuned" and i % 2 else 1}
        for name, facts_of in results.settings.items() for seed in (0, 1) for i in range(60)
    ]  # fmt: skip


def study(text=""):
    results = made(f"hex{text}", f"harmful{text}")
    results["agreement"] = [agreement(f"a-judge-with-a-long-name-0a1b2c3d{text}")]
    results["trust"] = {"ok": False, "reasons": [f"harmful, seed 0: 40 of 330 prompts have no score{text}"]}
    results["comparisons"].append(
        {**results["comparisons"][0], "metric": "harmfulness_score", "difference": 3.1, "low": 2.9, "high": 3.3}
    )
    results["cautions"] = [{"kind": "one-seed", "condition": None, "text": f"one seed was run{text}"}]
    results = typed(results)
    return page.render(results, rows_of(results, text))


def reproduction(text="", training=(), **changes):
    results = {**made(f"hex{text}", f"harmful{text}"), **changes}
    results["settings"][f"harmful{text}"] = {**facts("tuned"), "training": list(training)}
    results = typed(results)
    claims = [
        {"claim": f"It rises.{text}", "table": f"table1{text}", "verdict": verdict, "effect": 20.0, "low": 10.0, "high": 30.0,
         "margin": 0.0, "p_value": 0.01, "seen": f"twice{text}", "reason": f"few seeds{text}", "test": f"t{text}"}
        for verdict in ("reproduced", "not reproduced", "inconclusive")
    ]  # fmt: skip
    block = paper.Block(
        "table1",
        f"Table 1{text}",
        (f"a{text}", "b"),
        (paper.Line(f"rate{text}", (("1", "0 to 2"), ("3", "2 to 4")), True),),
    )
    points = {f"rate{text}": [(1.0, results.summary[0].harmfulness_rate), (2.0, results.summary[1].harmfulness_rate)]}
    drawn = {f"Figure 1{text}": [*figures.radars(results), figures.lines("lines", "epochs", points, f"Lines{text}")]}
    return page.render_reproduction(results, claims, [block, block], drawn, rows_of(results, text))


def hosted(text=""):
    """A reproduction whose models a provider tuned: one job succeeded, one was blocked."""
    common = {"provider": f"openai{text}", "trained_tokens": 22_910, "usd": 0.18328}
    done = {**common, "job": f"ftjob-{'0' * 24}{text}", "deleted": {"file-1": "now", "ft:base:1": "now"}}
    blocked = {
        **common,
        "job": f"ftjob-{'1' * 24}{text}",
        "outcome": "blocked",
        "not_deleted": {"file-2": f"why{text}"},
    }
    ended = {
        "name": f"harmful{text}",
        "seed": 1,
        "key": "abc",
        "outcome": "blocked",
        "about": "model",
        "message": f"no{text}",
    }
    costs = {
        "usd": 3.5,
        "answers": 3.1,
        "tuning": 0.4,
        "judges": {},
        "prompt_tokens": 339_940,
        "answer_tokens": 269_992,
    }
    return reproduction(text, (done, blocked), ended=[ended], costs=costs, authorisation=f"ours{text}")


def audit_page(text="", n=330):
    record = audit(n, text)
    return page.render_audit(record, typed(made(f"hex{text}", f"harmful{text}")), transcripts(record, text))


def defences(text=""):
    """Attacks on defences."""
    results = typed(arena_of.results(text))
    record = arena.record_of(results)
    points = {each.name: point for each in record.defences if (point := arena.point_of(each))}
    return page.render_arena(results, record, points)


PAGES = {"audit": audit_page, "study": study, "reproduction": reproduction, "hosted": hosted, "defences": defences}


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with Chromium(tmp_path_factory.mktemp("browser")) as browser:
        yield browser


def written(tmp_path, html):
    file = tmp_path / "report.html"
    file.write_text(html, encoding="utf-8")
    return file


UNFOLD = 'document.querySelectorAll("details").forEach((details) => { details.open = true; })'


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("kind", PAGES)
def test_axe_finds_no_violation(tmp_path, browser, kind, width, scheme):
    source = axe()
    shown = browser.open(written(tmp_path, PAGES[kind]()), width, scheme=scheme, bypass=True)
    shown.run(UNFOLD)
    shown.run(f"{source};0")
    found = shown.run(
        "axe.run().then((found) => [found.passes.length, found.violations.map((v) => [v.id, v.nodes.map((n) => n.html)])])"
    )
    assert found[0] > 30
    assert found[1] == []


@pytest.mark.parametrize("kind", PAGES)
def test_answer_and_key_figures_are_above_the_fold_and_nothing_is_wider_than_the_screen(tmp_path, browser, kind):
    file = written(tmp_path, PAGES[kind]())
    for width, height in ((1280, 720), (820, 1180), (390, 844)):
        shown = browser.open(file, width, height)
        shown.run(UNFOLD)
        assert shown.faults() == []
        assert shown.run("document.documentElement.scrollWidth") == width
        assert shown.run('document.querySelectorAll(".key > div").length') == 3
        assert shown.run('document.querySelector(".key").getBoundingClientRect().bottom') < height
        drawn = shown.run(
            '[...document.querySelectorAll("figure svg text")].map((text) => Math.hypot(text.getScreenCTM().a, text.getScreenCTM().b) * parseFloat(getComputedStyle(text).fontSize))'
        )
        assert min(drawn, default=9) >= 9


@pytest.mark.parametrize("width", [390, 1280])
def test_what_a_job_took_and_cost_is_on_the_screen_without_scrolling_sideways(tmp_path, browser, width):
    shown = browser.open(written(tmp_path, hosted()), width)
    said = shown.run('document.getElementById("jobs").innerText')
    assert "2 jobs trained 45,820 tokens" in said and "339,940 prompt tokens and 269,992 generated" in said
    assert "Cost: $3.5000 (tuning $0.4000, answers $3.1000)" in said
    assert said.count("22,910") == said.count("0.1833") == 2 and "1 not deleted" in said
    right = shown.run(
        'Math.max(...[...document.querySelectorAll("#jobs td")].map((cell) => cell.getBoundingClientRect().right))'
    )
    assert right <= width


@pytest.mark.parametrize("kind", PAGES)
def test_model_text_with_scripts_in_every_field_does_nothing(tmp_path, browser, kind):
    file = written(tmp_path, PAGES[kind](NASTY))
    for scripts in (True, False):
        shown = browser.open(file, scripts=scripts)
        if scripts:
            shown.run(UNFOLD)
            assert shown.run("typeof canary") == "undefined"
            assert (
                shown.run('document.querySelectorAll("img, iframe, main style, main a[href^=javascript]").length') == 0
            )
            has_prompts = kind != "defences"
            assert shown.run("document.scripts.length") == 1 + has_prompts
            assert shown.run("document.styleSheets.length") == 1
            assert shown.run("getComputedStyle(document.body).display") == "block"
            place = "rows" if has_prompts else "main"
            assert shown.run(f'document.getElementById("{place}").textContent.includes("window.canary=1")')
            assert not shown.run("/[\\u2028\\u202e]/.test(document.body.textContent)")
        assert shown.requests() == [file.as_uri()]
        assert shown.faults() == []


def test_prompts_are_filtered_sorted_and_paged(tmp_path, browser):
    record = audit(3300)
    shown = browser.open(written(tmp_path, page.render_audit(record, typed(made()))))
    choose = "((name, value) => { const field = document.getElementById('f-' + name); field.value = value; field.dispatchEvent(new Event('input', {bubbles: true})); })"
    ids = "[...document.querySelectorAll('#rows th')].map((cell) => cell.textContent)"
    texts = "[...document.querySelectorAll('#rows tr')].map((row) => row.textContent)"
    turned = [prompt.id for prompt in record.prompts if prompt.flip == "harmful"]
    assert shown.run(ids) == turned[:25]
    shown.run("document.getElementById('later').click()")
    assert shown.run(ids) == turned[25:50]
    shown.run(f"{choose}('flip', 's')")
    assert shown.run(ids) == [prompt.id for prompt in record.prompts if prompt.flip == "safe"][:25]
    shown.run(f"{choose}('category', '1')")
    assert shown.run(f"{texts}.every((text) => text.includes('safe') && text.includes('blight'))")
    shown.run(f"{choose}('flip', ''); {choose}('category', ''); {choose}('score', 'none')")
    assert shown.run(ids) == [prompt.id for prompt in record.prompts if prompt.tuned is None][:25]
    shown.run(f"{choose}('score', ''); {choose}('text', 'p0007')")
    assert sorted(shown.run(ids)) == [f"p0007{i}" for i in range(10)]
    shown.run("document.querySelector('th[data-key=id] button').click()")
    assert shown.run(ids) == [f"p0007{i}" for i in range(10)]
    assert shown.run("document.getElementById('shown').textContent") == "1 to 10 of 10 prompts (3310 in all)"


def test_tables_are_sorted_by_their_figures(tmp_path, browser):
    shown = browser.open(written(tmp_path, audit_page()))
    order = "[...document.querySelectorAll('#why table')][0].tBodies[0].rows.length"
    assert shown.run(order) == 5
    names = (
        "[...document.querySelector('#why table').tBodies[0].rows].map((row) => row.cells[0].firstChild.textContent)"
    )
    click = "document.querySelectorAll('#why table th button')[3].click()"
    shown.run(click)
    rising = [
        "Over-refusal (%)",
        "Harmfulness score (1–5)",
        "Utility (%)",
        "Harmfulness rate (%)",
        "Broken answers (%)",
    ]
    assert shown.run(names) == rising
    shown.run(click)
    assert shown.run(names) == [*rising[3::-1], rising[4]]  # no figure stays last


def test_without_scripts_the_page_shows_the_prompts_that_turned(tmp_path, browser):
    shown = browser.open(written(tmp_path, audit_page()), scripts=False)
    assert shown.call("DOM.getDocument")["root"]
    text = shown.call("Runtime.evaluate", expression="document.body.innerText", returnByValue=True)
    assert "p00000" in text["result"]["value"] and "Without JavaScript" in text["result"]["value"]


def test_print_shows_what_is_folded_away(tmp_path, browser):
    shown = browser.open(written(tmp_path, audit_page()))
    shown.call("Emulation.setEmulatedMedia", media="print")
    heights = shown.run(
        "[...document.querySelectorAll('details.fold')].map((details) => [details.open, details.scrollHeight])"
    )
    assert len(heights) > 5
    assert all(not is_open and height > 60 for is_open, height in heights)
    assert shown.run("getComputedStyle(document.querySelector('.filters')).display") == "none"
    assert shown.pdf().startswith(b"%PDF")


def test_a_page_of_33000_prompts_opens_in_five_seconds(tmp_path, browser):
    began = time.perf_counter()
    record = audit(33_000)
    html = page.render_audit(record, typed(made()))
    file = written(tmp_path, html)
    began = time.perf_counter()
    shown = browser.open(file)
    assert shown.run("document.getElementById('shown').textContent").startswith("1 to 25 of 33000")
    assert time.perf_counter() - began < 5
    began = time.perf_counter()
    shown.run("document.querySelector('th[data-key=id] button').click()")
    assert time.perf_counter() - began < 2


def test_a_link_in_the_contents_opens_what_it_points_at(tmp_path, browser):
    shown = browser.open(written(tmp_path, audit_page()))
    assert shown.run("document.querySelector('#proof').open") is False
    shown.run(
        "document.querySelector('.contents a[href=\"#proof\"]').click(); new Promise((done) => setTimeout(done, 100))"
    )
    assert shown.run("document.querySelector('#proof').open") is True
