"""All pages that are written from the code, by the name that they have on the site."""

import json
from pathlib import Path

from generate import commands, kinds, messages, records

ROOT = Path(__file__).parents[3]


def all_of_them():
    """Page → its Markdown."""
    root = {name: (ROOT / f"{name.upper()}.md").read_text() for name in ("contributing", "changelog", "security")}
    return {
        "reference/commands.md": commands.page(),
        "reference/study-file.md": kinds.study_file(),
        "reference/kinds.md": kinds.page(),
        "reference/studies.md": kinds.studies(),
        "reference/python.md": python(),
        "reference/results-json.md": records.results(),
        "reference/audit-json.md": records.audit(),
        "reference/messages.md": messages.page(),
        "tutorials/notebook.md": notebook(ROOT / "docs" / "tutorial.ipynb"),
        **{f"{name}.md": text for name, text in root.items()},
    }


def python():
    """What `import holdfast` gives, from its docstrings."""
    import holdfast

    first = [name for name in holdfast.__all__ if name[0].islower()]
    others = [name for name in holdfast.__all__ if name not in first]
    intro = "# Python\n\nWhat `import holdfast` gives, from its docstrings. Every error that you can mend is a `HoldfastError`.\n"
    return intro + "".join(f"\n::: holdfast.{name}\n" for name in [*first, *others])


def notebook(path):
    """A notebook as a page: its texts and its code."""
    parts = ["<!-- Made from docs/tutorial.ipynb. -->"]
    for cell in json.loads(path.read_text())["cells"]:
        text = "".join(cell["source"])
        parts.append(text if cell["cell_type"] == "markdown" else f"```python\n{text}\n```")
    heading, rest = parts[1].split("\n", 1)
    note = "This page shows `docs/tutorial.ipynb`, which a test runs from top to bottom."
    return "\n\n".join([heading, note, rest.strip(), *parts[2:]])


def source(name):
    """A file of the repository as a page."""
    path = ROOT / name
    if path.is_dir():
        listed = "\n".join(f"- `{child.name}`" for child in sorted(path.iterdir()) if not child.name.startswith("__"))
        return f"# `{name}`\n\nA folder of the repository.\n\n{listed}\n"
    text = path.read_text()
    if path.suffix == ".md":
        return text.split("\n---\n", 1)[-1] if text.startswith("---\n") else text
    return f"# `{name}`\n\nA file of the repository.\n\n````{path.suffix[1:]}\n{text}\n````\n"
