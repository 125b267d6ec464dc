"""What stands under each field of a class."""

import ast
import html
import importlib
import inspect
import re
from functools import cache


@cache
def _tree(module):
    """The code of a module."""
    return ast.parse(inspect.getsource(importlib.import_module(module)))


def of_fields(kind):
    """Field → the text under it, of a class and of those that it extends."""
    found = {}
    for part in reversed(kind.__mro__):
        if not part.__module__.startswith("holdfast"):
            continue
        tree = _tree(part.__module__)
        node = next(node for node in ast.walk(tree) if isinstance(node, ast.ClassDef) and node.name == part.__name__)
        for here, after in zip(node.body, [*node.body[1:], None], strict=True):
            if isinstance(here, ast.AnnAssign):
                text = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant) and after.value.value
                found[here.target.id] = " ".join(text.split()) if isinstance(text, str) else ""
    return found


def annotation(kind, name):
    """A field's type as it is written in the code."""
    for part in kind.__mro__:
        if not part.__module__.startswith("holdfast"):
            continue
        tree = _tree(part.__module__)
        node = next(node for node in ast.walk(tree) if isinstance(node, ast.ClassDef) and node.name == part.__name__)
        for here in node.body:
            if isinstance(here, ast.AnnAssign) and here.target.id == name:
                return ast.unparse(here.annotation)
    return ""


def text(words):
    """Plain text as Markdown: nothing in it is taken for HTML; code between backticks stays as it is."""
    parts = re.split(r"(`[^`]*`)", str(words))
    return "".join(part if part.startswith("`") else html.escape(part, quote=False) for part in parts)


def cell(words):
    """Text for a cell of a table."""
    return text(words).replace("|", "\\|").replace("\n", " ")


def code(words):
    """Code for a cell of a table, to stand between backticks."""
    return str(words).replace("|", "\\|").replace("\n", " ")
