"""A gate's decisions as JUnit XML, which every CI system shows. docs/ci.md says what each answer becomes.

There is no one schema of JUnit XML. What is written here keeps to what the common ones share (Jenkins' junit-10.xsd,
Ant's, GitLab's reader).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from xml.etree import ElementTree

from holdfast.core.audit_record import Check, Decision, GateAnswer
from holdfast.report import amounts

NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML 1.0 does not allow, not even escaped (section 2.2)."""

DECISION = "decision"
"""The test case that holds the decision as a whole: it can be worse than every check."""

LABELS: dict[GateAnswer, str] = {
    "fail": "holdfast.fail", "cannot tell": "holdfast.cannot-tell", "not to be trusted": "holdfast.not-to-be-trusted",
}  # fmt: skip
"""Answer → the `type` of a failure or error."""


def render(decisions: Sequence[Decision], name: str, date: str) -> str:
    """The text of a JUnit XML file: a test suite for each decision, in it a test case for each check.

    Args:
        decisions: one for each tuned condition.
        name: what the whole is called: the audit's or the study's name.
        date: the day of the measurement, YYYY-MM-DD; "" where it is not known.
    """
    root = ElementTree.Element("testsuites", name=_allowed(name))
    for decision in decisions:
        _suite(root, decision, name, date)
    for count in ("tests", "failures", "errors"):
        root.set(count, str(sum(int(suite.get(count, "0")) for suite in root)))
    root.set("time", "0")
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _suite(root: ElementTree.Element, decision: Decision, name: str, date: str) -> None:
    suite = ElementTree.SubElement(root, "testsuite", name=_allowed(f"{name}: {decision.condition}"))
    if date:
        suite.set("timestamp", f"{_allowed(date)}T00:00:00")
    properties = ElementTree.SubElement(suite, "properties")
    for key, value in decision.policy.items():
        ElementTree.SubElement(properties, "property", name=_allowed(key), value=_allowed(str(value)))
    group = _allowed(f"holdfast.{decision.condition}")
    whole = ElementTree.SubElement(suite, "testcase", name=DECISION, classname=group, time="0")
    _outcome(whole, decision.answer, True, decision.sentence, "\n".join(decision.reasons))
    for check in decision.checks:
        case = ElementTree.SubElement(suite, "testcase", name=_allowed(check.name), classname=group, time="0")
        _outcome(case, check.answer, check.needed, check.why, _figures(check))
    suite.set("tests", str(1 + len(decision.checks)))
    for count, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        suite.set(count, str(len(suite.findall(f"testcase/{tag}"))))
    suite.set("time", "0")


def _outcome(case: ElementTree.Element, answer: GateAnswer, needed: bool, message: str, text: str) -> None:
    """What a test case holds: nothing for a pass, else a failure, an error or a skip."""
    if answer == "pass":
        return
    tag = "error" if answer == "not to be trusted" else "failure"
    if answer == "cannot tell" and not needed:
        ElementTree.SubElement(case, "skipped", message=_allowed(message))
        return
    ElementTree.SubElement(case, tag, type=LABELS[answer], message=_allowed(message)).text = _allowed(text)


def _figures(check: Check) -> str:
    lines = [
        f"change for the worse: {amounts.signed(check.metric, check.change)}",
        f"one-sided limits: {amounts.span(check.metric, check.low, check.high)} (over {check.over})",
        f"margin: {amounts.points(check.metric, check.margin)}",
    ]
    return "\n".join([*lines, f"prompts that could tell: {check.n_needed:,}"] if check.n_needed else lines)


def _allowed(text: str) -> str:
    """Text without the characters that XML does not allow."""
    return NOT_XML.sub("", text)
