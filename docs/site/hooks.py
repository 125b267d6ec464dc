"""What MkDocs calls while it builds the site: pages are written from the code, and links to the repository's files mended."""

import re
import sys
from pathlib import Path

from mkdocs.structure.files import File

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PATHS = [str(HERE), str(ROOT / "src")]
sys.path[:0] = PATHS

from generate import links, pages  # noqa: E402

LATER = {"benchmarks-speed.md"}
"""Pages that the navigation has a place for, and that are not written yet."""


def on_config(config):
    """Leave out the places of pages that are not there yet."""
    sys.path[:0] = PATHS  # MkDocs has taken them away again
    config["nav"] = _there(config["nav"], Path(config["docs_dir"]))
    return config


def _there(items, docs):
    kept = []
    for item in items:
        name, value = next(iter(item.items())) if isinstance(item, dict) else ("", item)
        if isinstance(value, list):
            kept.append({name: _there(value, docs)})
        elif value not in LATER or (docs / value).is_file():
            kept.append(item)
    return kept


def on_files(files, config):
    """Add the pages that are written from the code."""
    written = pages.all_of_them()
    for name, text in written.items():
        files.append(File.generated(config, name, content=text))
    linked = {name for file in files.documentation_pages() for name in links.outside(file.src_uri, file.content_string)}
    for name in sorted(linked):
        files.append(File.generated(config, links.source_page(name), content=pages.source(name)))
    return files


def on_page_markdown(markdown, page, config, files):
    """Point links to files of the repository at the pages that show them, and put pictures into the page itself."""
    plain = re.sub(r"<!--=.*?-->|<!---->", "", markdown)  # the marks of figures that draw.py and tables.py write
    return links.with_pictures(links.relinked(page.file.src_uri, plain), page.file.src_uri)


def on_page_content(html, page, config, files):
    """The empty corner of a table is no heading."""
    return re.sub(r"<th([^>]*)></th>", r"<td\1></td>", html)
