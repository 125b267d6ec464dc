"""Draw the site's pictures, and put what their simulations found into the pages.

    python docs/site/draw.py [NAME ...]      # all of them, if none is named: about a minute

Each picture is docs/pictures/NAME.svg; what was found is docs/pictures/figures.json. In a page a figure stands between
<!--=NAME.FIGURE--> and <!---->.
"""

import importlib
import json
import re
import sys
from pathlib import Path

HERE = Path(__file__).parent
DOCS = HERE.parent
NAMES = ("seeds", "flips", "noise", "margin", "judge", "looks", "house")
FOUND = DOCS / "pictures" / "figures.json"
FIGURE = re.compile(r"<!--=([\w.-]+)-->(.*?)<!---->")


def filled(text, found):
    """A page with today's figures."""

    def figure(match):
        name, _, key = match[1].partition(".")
        return f"<!--={match[1]}-->{found[name][key]:g}<!---->"

    return FIGURE.sub(figure, text)


def main(names):
    """Draw, and write the figures into the pages."""
    found = json.loads(FOUND.read_text()) if FOUND.is_file() else {}
    for name in names or NAMES:
        picture, found[name] = importlib.import_module(f"figures.{name}").draw()
        (DOCS / "pictures" / f"{name}.svg").write_text(picture)
    FOUND.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")
    for page in DOCS.glob("*.md"):
        text = page.read_text()
        if filled(text, found) != text:
            page.write_text(filled(text, found))


if __name__ == "__main__":
    sys.path[:0] = [str(HERE), str(DOCS.parent / "src")]
    main(sys.argv[1:])
