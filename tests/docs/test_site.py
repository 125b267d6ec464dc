"""The site: built strictly, whole, accessible, without a request elsewhere; its figures are those that were found."""

import importlib
import json
import re
import subprocess
import sys
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from support.chromium import Chromium, axe

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
SITE = DOCS / "site"
FOR_NEWCOMERS = [DOCS / "index.md", *sorted((DOCS / "tutorials").glob("*.md"))]
WIDE, NARROW = 1280, 390


@pytest.fixture(scope="module", autouse=True)
def site_code():
    """The site's own modules can be imported."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(SITE))
        yield


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The folder of the built site."""
    pytest.importorskip("material", reason="the extra `docs` is not installed")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "-f", SITE / "mkdocs.yml", "-d", folder]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="module")
def served(built):
    """The address of the built site."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=built)) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def prose(path):
    """A page's paragraphs and items, without code, tables and headings."""
    text = re.sub(r"^```.*?^```$", "", path.read_text(), flags=re.M | re.S)
    kept = [line for line in text.splitlines() if not line.startswith(("    ", "|", "#", "!", "<"))]
    for block in re.split(r"\n\s*\n|\n(?=[-*\d])", "\n".join(kept)):
        yield re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", re.sub(r"`[^`]*`", "code", " ".join(block.split())))


@pytest.mark.parametrize("path", FOR_NEWCOMERS, ids=lambda path: path.stem)
def test_sentences_for_newcomers_have_at_most_30_words(path):
    sentences = [sentence for block in prose(path) for sentence in re.split(r"(?<=[.!?:])\s", block)]
    assert len(sentences) > 5
    assert [sentence for sentence in sentences if len(sentence.split()) > 30] == []


def test_words_are_spelled_right():
    pytest.importorskip("codespell_lib")
    texts = [ROOT / f"{name}.md" for name in ("README", "CONTRIBUTING", "SECURITY", "CHANGELOG")]
    command = [sys.executable, "-m", "codespell_lib", "-L", "fo,ist", *texts, *DOCS.rglob("*.md")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_figures_in_the_text_are_those_that_the_simulations_found():
    import draw

    found = json.loads(draw.FOUND.read_text())
    assert set(found) == set(draw.NAMES)
    marked = [path for path in DOCS.glob("*.md") if draw.FIGURE.search(path.read_text())]
    assert DOCS / "statistics.md" in marked
    for path in marked:
        assert draw.filled(path.read_text(), found) == path.read_text(), "run `make docs-figures`"
        assert not re.search(r"^<!--=", path.read_text(), re.M), "a line that begins with a mark ends the paragraph"


@pytest.mark.long
@pytest.mark.parametrize("name", ["seeds", "flips", "noise", "margin", "judge", "looks", "house"])
def test_a_simulation_finds_what_its_picture_and_the_text_say(name):
    import draw

    picture, found = importlib.import_module(f"figures.{name}").draw()
    assert found == json.loads(draw.FOUND.read_text())[name]
    assert "currentColor" in picture
    assert (DOCS / "pictures" / f"{name}.svg").read_text() == picture


def test_the_page_of_what_was_measured_is_what_its_command_writes():
    import measured

    kept = json.loads(measured.KEPT.read_text())
    assert kept
    assert measured.PAGE.read_text() == measured.page(kept)


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 120


def test_the_picture_of_the_house_has_its_floors():
    from figures import house
    from test_architecture import FLOORS

    assert [set(floor) for floor in reversed(house.FLOORS)] == FLOORS
    assert set(house.rooms()) == set().union(*FLOORS)


@pytest.mark.long
def test_every_command_option_kind_and_study_is_on_the_site(built):
    from generate.commands import commands
    from generate.kinds import registries

    from holdfast.audit.public import PUBLIC
    from holdfast.study.loader import shipped_studies

    text = {path.stem: path.read_text() for path in (built / "reference").glob("*.html")}
    for name, command in commands():
        assert f">{name}<" in text["commands"], name
        for option in (option for parameter in command.params for option in parameter.opts if option.startswith("--")):
            assert option in text["commands"], (name, option)
    for kind in [kind for registry in registries().values() for kind in registry] + list(PUBLIC):
        assert re.search(rf">{kind}<", text["kinds"]), kind
    for path in shipped_studies():
        assert f'id="{path.stem}"' in text["studies"], path.stem
    shown = subprocess.run([sys.executable, "-m", "holdfast", "--help"], capture_output=True, text=True, check=True)
    for name in re.findall(r"^│ ([a-z][a-z-]*)  ", shown.stdout, re.M):
        assert f">holdfast {name}" in text["commands"], name


@pytest.mark.long
def test_messages_are_collected_from_the_code(built):
    text = (built / "reference" / "messages.html").read_text()
    assert text.count("<tr>") > 300
    assert "holds the results of another study" in text


@pytest.mark.long
@pytest.mark.parametrize(("width", "scheme", "every"), [(WIDE, "light", 1), (NARROW, "dark", 3)])
def test_every_page_is_accessible_and_asks_nobody_else(built, served, tmp_path, width, scheme, every):
    pages = sorted(path.relative_to(built) for path in built.rglob("*.html"))[::every]
    assert len(pages) > 40 / every
    source, found = axe(), {}
    with Chromium(tmp_path) as browser:
        for page in pages:
            shown = browser.open(f"{served}/{page}", width=width, scheme=scheme)
            assert shown.run("document.body.dataset.mdColorScheme") == {"light": "default", "dark": "slate"}[scheme]
            assert [url for url in shown.requests() if not url.startswith((served, "data:", "blob:"))] == []
            assert shown.run("document.documentElement.scrollWidth") <= width, page
            assert shown.faults() == [], page
            shown.run(source)
            violations = shown.run("axe.run({resultTypes: ['violations']}).then(r => JSON.stringify(r.violations))")
            for violation in json.loads(violations):
                found.setdefault(violation["id"], []).append((str(page), violation["nodes"][0]["html"][:200]))
            shown.call("Page.close")
    assert found == {}


@pytest.mark.long
def test_the_search_finds_a_page_without_asking_anybody_else(built, served, tmp_path):
    with Chromium(tmp_path) as browser:
        shown = browser.open(f"{served}/index.html", width=WIDE)
        shown.run(
            "document.querySelector('[data-md-toggle=search]').click();"
            "const field = document.querySelector('[data-md-component=search-query]'); field.focus();"
            "field.value = 'sandbagging'; field.dispatchEvent(new Event('keyup'))"
        )
        seen = (
            "new Promise(done => { const look = () => { const found = document.querySelector('.md-search-result__link');"
            "found ? done(found.href) : setTimeout(look, 50) }; look() })"
        )
        assert "/limits.html" in shown.run(seen)
        assert [url for url in shown.requests() if not url.startswith((served, "data:", "blob:"))] == []
