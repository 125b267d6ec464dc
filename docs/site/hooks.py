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


def on_config(config):
    """Put our folders on the path again, from which MkDocs has taken them."""
    sys.path[:0] = PATHS
    return config


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
