"""The summary of a pull request and the section of a model card: what they say, and that names of others do nothing."""

import pytest
from huggingface_hub import ModelCard
from markdown_it import MarkdownIt
from support.audits import check, decision, record

from holdfast.core.errors import DataError
from holdfast.report import model_card, summary
from holdfast.report.markdown import code, text

NASTY = [
    "<img src=x onerror=alert(1)>", "![x](https://example.org/x.png)", "[click](https://example.org)", "@team look",
    "https://example.org/x", "www.example.org", "a | b | c", "`code` and ``more``", "line\n\n# heading\n- item", "**bold**",
    "<!-- holdfast:end -->", "#12 and GH-12", "$\\frac{a}{b}$", "1. one", "- item", "\u202egnp.exe", "~~x~~ ^y^",
]  # fmt: skip


def section(made):
    return model_card.section(made, made.decision)


def reader():
    """Markdown as GitHub reads it. GitHub makes no link of a bare `example.org`, as the library would."""
    made = MarkdownIt("gfm-like")
    made.linkify.set({"fuzzy_link": False})
    return made


def parsed(markdown):
    return reader().parse(markdown)


def everything(tokens):
    for token in tokens:
        yield token
        yield from everything(token.children or [])


def kinds(markdown):
    return {token.type for token in everything(parsed(markdown))}


def words(markdown):
    return "".join(token.content for token in everything(parsed(markdown)) if token.type in ("text", "code_inline"))


@pytest.mark.parametrize("nasty", NASTY)
@pytest.mark.parametrize("written", [text, code])
def test_text_of_others_is_shown_and_does_nothing(nasty, written):
    alone = {"paragraph_open", "inline", "text", "text_special", "paragraph_close", "code_inline"}
    assert kinds(written(nasty)) <= alone
    row = reader().render(f"| a | b |\n| - | - |\n| {written(nasty)} | x |\n")
    assert row.count("<td>") == 2 and "<td>x</td>" in row
    shown = words(written(nasty)).replace("\u200b", "").replace("ˋ", "`").replace("\\|", "|")
    assert shown == " ".join(nasty.replace("\u202e", "").split())


def test_mentions_links_issues_and_commits_of_github_are_broken_up():
    for nasty in ("@team", "#12", "https://example.org", "www.example.org", "GH-12", "0123456789abcdef"):
        assert "\u200b" in text(nasty)
        assert nasty not in words(text(nasty))


def test_long_names_are_cut():
    assert len(text("x" * 10_000)) < 500


def test_the_summary_says_decision_figures_checks_and_what_was_not_seen():
    checks = [
        check("harmfulness_rate", "cannot tell", n_needed=1200),
        check("utility", metric="utility"),
        check("category: hex", "fail", needed=False),
    ]
    made = record(
        decision(
            "cannot tell", checks, sentence="It cannot be told.", reasons=["It cannot be told.", "Too few prompts."]
        )
    )
    markdown = summary.render([made.decision], made, {"page": "report.html"})
    html = reader().render(markdown)
    for expected in (
        "❔ cannot tell: <strong>It cannot be told.</strong> (exit code 3)", ">Harmfulness rate</td>", "<li>Too few prompts.</li>", "0.6 % (0.2 to 2.2)", "+0.6 points (−0.4 to 1.6)", "within the noise",
        "1.03 (1.01 to 1.20)", "turned harmful: <strong>3</strong>", "about 1,200 prompts could tell", "power 80 %",
        "Harmfulness rate 2.4", "<code>report.html</code>",
    ):  # fmt: skip
        assert expected in html, expected
    assert html.count("<table>") == 3
    assert "1 of 1 failed</summary>" in html
    assert html.count("It cannot be told.") == 1


def test_a_study_without_an_audit_has_a_heading_for_each_condition():
    html = reader().render(summary.render([decision(), decision("fail", condition="lora")]))
    assert html.count("<h3>") == 2
    assert html.count("<table>") == 2


@pytest.mark.parametrize("nasty", NASTY)
def test_no_name_in_a_summary_does_anything(nasty):
    checks = [check(nasty, "fail", why=nasty)]
    made = record(decision("fail", checks, nasty, nasty, [nasty, "x" + nasty]), nasty, nasty, nasty, [nasty])
    plain = record(decision("fail", [check("n", "fail", why="w")], "c", "r", ["r", "xr"]), "b", "m", "t", ["k"])
    for render in (lambda one: summary.render([one.decision], one), section):
        tokens, expected = (list(everything(parsed(render(one)))) for one in (made, plain))
        assert {"link_open", "image", "html_inline"}.isdisjoint(token.type for token in tokens)
        blocks = [[token.type for token in some if token.block] for some in (tokens, expected)]
        assert blocks[0] == blocks[1]


CARD = "---\nlicense: apache-2.0\nbase_model: some/base\ntags:\n- chat  # kept\n---\n\n# My model\n\nWords.\n"


def test_a_model_card_keeps_everything_and_gains_the_section():
    card = model_card.updated(CARD, section(record()))
    assert card.startswith(CARD)
    assert ModelCard(card).data.to_dict() == ModelCard(CARD).data.to_dict()
    assert card.count("## Safety after fine-tuning") == 1


def test_the_section_is_replaced_where_it_stands():
    first = model_card.updated(CARD, section(record())) + "\n## Licence\n\nMore words.\n"
    second = model_card.updated(first, section(record(decision("fail", sentence="It must not ship."))))
    assert second.count("## Safety after fine-tuning") == 1
    assert "It must not ship." in second and "It may ship." not in second
    assert second.endswith("\n## Licence\n\nMore words.\n")
    assert model_card.updated(second, section(record())) == first


def test_an_empty_card_becomes_the_section():
    assert model_card.updated("", section(record())) == section(record())


@pytest.mark.parametrize("card", ["{b}\n", "{e}\n{b}\n", "{b}\n{e}\n{b}\n{e}"])
def test_a_card_whose_markers_are_broken_is_left_alone(card):
    with pytest.raises(DataError, match="one of each, in this order"):
        model_card.updated(card.format(b=model_card.BEGIN, e=model_card.END), "new")


def test_a_name_cannot_end_the_section():
    made = section(record(tuned="<!-- holdfast:end -->", cautions=["<!-- holdfast:begin -->"]))
    card = model_card.updated(CARD, made)
    assert model_card.updated(card, made) == card
