"""YAML of a user → plain values, within bounds: a few lines with aliases can stand for billions of values."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from holdfast.core.errors import DataError
from holdfast.core.file_faults import half_character
from holdfast.core.files import read_text

MOST_CHARACTERS = 4_000_000
"""The longest YAML that is read. The shipped studies have 3,000 characters."""

MOST_NODES = 100_000
"""The most keys and values, each counted as often as aliases and merges repeat it."""

DEEPEST = 50
"""The most mappings and lists inside of each other."""

TAG = "tag:yaml.org,2002:"

PLAIN = tuple(TAG + kind for kind in ("null", "bool", "int", "float", "str", "seq", "map", "merge"))
"""The tags of what JSON has too. All others are refused; what looks like a date is text."""

PROBLEM_LENGTH = 300


class BadYamlError(DataError):
    """Text that is not YAML, or YAML that is not read; `line` is where, from 1."""

    def __init__(self, line: int, problem: str) -> None:
        super().__init__(f"line {line}: {problem}")
        self.line, self.problem = line, problem


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """PyYAML's safe loader, the fast one where it is there, for which dates are text."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - PyYAML's own attribute
        first: [(tag, pattern) for tag, pattern in resolvers if tag in PLAIN]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


def read_yaml(path: Path) -> Any:
    """The value in a YAML or JSON file; None for an empty one.

    Raises:
        DataError: naming the file and the line: it is not UTF-8, not YAML, or more than is read.
    """
    try:
        return values(compose(read_text(path, MOST_CHARACTERS * 4)))
    except BadYamlError as error:
        raise DataError(f"{path}, {error}") from None


def parse_yaml(text: str) -> Any:
    """The value that a YAML text stands for; None for an empty one.

    Raises:
        BadYamlError: it is not YAML, or more than is read.
    """
    return values(compose(text))


def compose(text: str) -> yaml.Node | None:
    """The nodes of a YAML text, each with its line; None for an empty one. They are within the bounds above.

    Raises:
        BadYamlError: it is not YAML, or more than is read.
    """
    if len(text) > MOST_CHARACTERS:
        raise BadYamlError(
            1, f"{len(text):,} characters of YAML, where at most {MOST_CHARACTERS:,} are read. Put rows into a file."
        )
    if problem := half_character(text):
        raise BadYamlError(1, problem)
    try:
        _count_events(text)
        root: yaml.Node | None = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        why = (error.problem or str(error))[:PROBLEM_LENGTH]
        raise BadYamlError(mark.line + 1 if mark else 1, f"not YAML: {why}") from None
    except yaml.YAMLError as error:
        raise BadYamlError(1, f"not YAML: {str(error)[:PROBLEM_LENGTH]}") from None
    if root is not None:
        _Checked().size(root)
    return root


def values(root: yaml.Node | None) -> Any:
    """What nodes of `compose` stand for. The nodes are changed: merges are carried out.

    Raises:
        BadYamlError: a merge of something else than mappings.
    """
    if root is None:
        return None
    try:
        return yaml.constructor.SafeConstructor().construct_document(root)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise BadYamlError(line, f"not YAML: {(error.problem or str(error))[:PROBLEM_LENGTH]}") from None


def _count_events(text: str) -> None:
    """Refuse a text with too many nodes, or too deep ones, before any is made."""
    depth = n_nodes = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        n_nodes += isinstance(event, yaml.NodeEvent)
        line = event.start_mark.line + 1 if event.start_mark else 1
        if depth > DEEPEST:
            raise BadYamlError(line, f"more than {DEEPEST} mappings and lists stand inside of each other.")
        if n_nodes > MOST_NODES:
            raise _too_many(line)


def _too_many(line: int) -> BadYamlError:
    return BadYamlError(
        line,
        f"more than {MOST_NODES:,} keys and values, each counted as often as aliases (*name) and merges (<<) repeat "
        "it. Use fewer of them, or put rows into a file.",
    )


class _Checked:
    """Nodes that were looked at, with their sizes. What an alias repeats is looked at once, and counted each time."""

    def __init__(self) -> None:
        self._sizes: dict[int, int] = {}
        self._open: set[int] = set()
        self._constructor = yaml.constructor.SafeConstructor()

    def size(self, node: yaml.Node) -> int:
        """How many nodes it stands for.

        Raises:
            BadYamlError: too many; it holds itself; or something in it is not a plain value.
        """
        line = node.start_mark.line + 1
        if id(node) in self._open:
            raise BadYamlError(line, "this mapping or list holds itself, by an alias (*name).")
        if id(node) not in self._sizes:
            self._open.add(id(node))
            self._sizes[id(node)] = 1 + sum(map(self.size, self._inner(node, line)))
            self._open.remove(id(node))
        if self._sizes[id(node)] > MOST_NODES:
            raise _too_many(line)
        return self._sizes[id(node)]

    def _inner(self, node: yaml.Node, line: int) -> list[yaml.Node]:
        """The nodes in a node, which is a plain value itself."""
        if node.tag not in PLAIN:
            shown = "!!" + node.tag.removeprefix(TAG) if node.tag.startswith(TAG) else node.tag
            raise BadYamlError(line, f"the tag {shown[:60]} is not read. Remove it; write texts, numbers and lists.")
        if isinstance(node, yaml.ScalarNode):
            self._check_scalar(node, line)
            return []
        if node.tag != TAG + ("map" if isinstance(node, yaml.MappingNode) else "seq"):
            raise BadYamlError(line, f"the tag {node.tag} does not fit what stands behind it. Remove it.")
        if isinstance(node, yaml.SequenceNode):
            return list(node.value)
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise BadYamlError(line, "a list or mapping stands where a key, which is a text, was expected.")
        return [each for pair in node.value for each in pair]

    def _check_scalar(self, node: yaml.ScalarNode, line: int) -> None:
        if problem := half_character(node.value):
            raise BadYamlError(line, problem)
        try:
            if node.tag != TAG + "merge":
                self._constructor.construct_object(node)
        except (ValueError, KeyError, OverflowError, yaml.YAMLError):
            kind = node.tag.removeprefix(TAG)
            raise BadYamlError(line, f"{node.value[:60]!r} is no {re.sub('^int$', 'whole number', kind)}.") from None
