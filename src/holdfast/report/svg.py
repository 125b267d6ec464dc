"""A figure as a part of a page: in the page's own colours, and without what its security policy forbids."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from markupsafe import Markup

from holdfast.report.figures import COLOURS, Drawing
from holdfast.report.layout import visible

NAMESPACE = re.compile(r"^\{[^}]*\}")
THEME = {
    **{colour: f"var(--c{place})" for place, colour in enumerate(COLOURS, start=1)},
    "#000000": "currentColor", "#222222": "currentColor", "#666666": "var(--quiet)", "#b0b0b0": "var(--line)",
    "#ffffff": "var(--paper)",
}  # fmt: skip
"""Colours of a figure → what takes their place, so that they can be read in the dark too."""


def inline(drawing: Drawing) -> Markup:
    """A figure's SVG for a page: styles as attributes, the page's colours, and no names that another figure has.

    Its text is escaped when it is written as XML.
    """
    root = ElementTree.fromstring(drawing.svg())
    _drop(root, ("metadata", "style"))
    used = set(
        re.findall(r"#([\w.-]+)", " ".join(value for element in root.iter() for value in element.attrib.values()))
    )
    for element in root.iter():
        element.tag = NAMESPACE.sub("", element.tag)
        attributes = {NAMESPACE.sub("", name): value for name, value in element.attrib.items()}
        for rule in attributes.pop("style", "").split(";"):
            name, _, value = rule.partition(":")
            if value:
                attributes[name.strip()] = THEME.get(value.strip(), value.strip())
        if attributes.get("id") not in used:
            attributes.pop("id", None)
        element.attrib.clear()
        element.attrib.update(attributes)
    root.set("stroke-linejoin", "round")
    title = ElementTree.Element("title")
    title.text = visible(drawing.label)
    root.insert(0, title)
    return Markup(ElementTree.tostring(root, encoding="unicode"))


def _drop(element: ElementTree.Element, names: tuple[str, ...]) -> None:
    """Take out all elements of these names."""
    for child in list(element):
        if NAMESPACE.sub("", child.tag) in names:
            element.remove(child)
        else:
            _drop(child, names)
