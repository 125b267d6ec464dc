"""Links between the repository's files and the site's pages."""

import posixpath
import re
from pathlib import Path

ROOT = Path(__file__).parents[3]
LINK = re.compile(r"(?<!!)\]\((?!https?:|mailto:|#)([^)\s]+)\)")
PICTURE = re.compile(r"!\[([^\]]*)\]\(([^)\s]+\.svg)\)")
FENCE = re.compile(r"^ *```.*?^ *```", re.M | re.S)
MOVED = {
    "README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "security.md", "docs/tutorial.ipynb": "tutorials/notebook.md", "docs": "index.md",
}  # fmt: skip
"""File of the repository → the page that shows it, where that is not the file itself."""


def source_page(name):
    """The page that shows a file of the repository."""
    return f"source/{name.removesuffix('.md')}.md"


def home(page):
    """The file of the repository that a page is made from; links in it are relative to that."""
    return {to: name for name, to in MOVED.items() if name not in ("README.md", "docs")}.get(page, f"docs/{page}")


def target(page, link):
    """The file of the repository that a link names, and the anchor."""
    path, _, anchor = link.partition("#")
    return posixpath.normpath(posixpath.join(posixpath.dirname(home(page)), path)), anchor


def destination(name):
    """The page of the site that shows a file of the repository."""
    if name in MOVED:
        return MOVED[name]
    return name.removeprefix("docs/") if name.startswith("docs/") else source_page(name)


def outside(page, text):
    """The files of the repository that a page links to and that are no pages."""
    if page.startswith("source/"):
        return
    for link in LINK.findall(FENCE.sub("", text)):
        name, _ = target(page, link)
        if not name.startswith("docs") and name not in MOVED:
            yield name


def relinked(page, text):
    """A page whose links lead to pages of the site."""

    def mended(match):
        name, anchor = target(page, match[1])
        if name.startswith("docs/") and home(page) == f"docs/{page}" and name not in MOVED:
            return match[0]
        to = posixpath.relpath(destination(name), posixpath.dirname(page) or ".")
        return f"]({to}{'#' + anchor if anchor else ''})"

    return "".join(part if part.lstrip().startswith("```") else LINK.sub(mended, part) for part in _parts(text))


def _parts(text):
    """The text, cut before and after its blocks of code."""
    start = 0
    for match in FENCE.finditer(text):
        yield text[start : match.start()]
        yield match[0]
        start = match.end()
    yield text[start:]


def with_pictures(text, page):
    """A page with its drawn figures in place, so that they take the page's colours."""
    folder = (ROOT / "docs" / page).parent

    def drawn(match):
        path = folder / match[2]
        if not path.is_file() or "currentColor" not in (svg := path.read_text()):
            return match[0]
        svg = re.sub(r"<style>.*?</style>|<\?xml.*?\?>", "", svg, flags=re.S)
        return f'\n<figure class="drawn" markdown="0">{svg}</figure>\n'

    return PICTURE.sub(drawn, text)
