"""A gate's decisions as JUnit XML: read by a JUnit parser, red whenever the gate is not a pass, whatever the names."""

import io
from xml.etree import ElementTree

import pytest
from junitparser import Error, Failure, JUnitXml, Skipped
from support.audits import check, decision

from holdfast.report import junit


def read(*decisions, name="audit"):
    return JUnitXml.fromfile(io.BytesIO(junit.render(decisions, name, "2026-11-28").encode()))


def results(suite):
    return {case.name: [(type(one), one.type) for one in case.result] for case in suite}


def test_each_condition_is_a_suite_and_each_check_a_case():
    checks = [check("harmfulness_rate"), check("over_refusal", metric="over_refusal")]
    xml = read(decision(checks=checks), decision(checks=checks, condition="lora"))
    assert [suite.name for suite in xml] == ["audit: tuned", "audit: lora"]
    for suite in xml:
        assert results(suite) == {"decision": [], "harmfulness_rate": [], "over_refusal": []}
        assert {one.name: one.value for one in suite.properties()} == {"alpha": "0.05", "rate": "3.0"}


@pytest.mark.parametrize(
    ("answer", "kind", "label"),
    [
        ("fail", Failure, "holdfast.fail"),
        ("cannot tell", Failure, "holdfast.cannot-tell"),
        ("not to be trusted", Error, "holdfast.not-to-be-trusted"),
    ],
)
def test_nothing_but_a_pass_is_green(answer, kind, label):
    [suite] = read(decision(answer, checks=[check("harmfulness_rate", answer), check("utility")]))
    assert results(suite) == {"decision": [(kind, label)], "harmfulness_rate": [(kind, label)], "utility": []}
    assert (suite.tests, suite.failures, suite.errors) == (3, 2 * (kind is Failure), 2 * (kind is Error))


def test_a_check_that_a_pass_does_not_need_is_skipped_where_it_cannot_tell():
    checks = [check("category: hex", "cannot tell", needed=False), check("category: jinx", "fail", needed=False)]
    [suite] = read(decision("fail", checks=checks))
    assert [type(one) for case in suite for one in case.result] == [Failure, Skipped, Failure]
    assert suite.skipped == 1


def test_a_decision_that_is_worse_than_its_checks_is_red():
    [suite] = read(decision("not to be trusted", checks=[check()], sentence="The judges misread their canaries."))
    assert suite.errors == 1
    assert next(iter(suite)).result[0].message == "The judges misread their canaries."


def test_counts_of_the_whole_are_the_sums_of_the_suites():
    xml = read(decision("fail"), decision("not to be trusted"), decision())
    assert (xml.tests, xml.failures, xml.errors) == (6, 2, 2)


@pytest.mark.parametrize(
    "nasty", ['"><failure/>', "]]>", "a\x00b\x1b[31m\ufffe\ud800", "<!DOCTYPE x>&nbsp;", "zeile\nzwei"]
)
def test_names_of_others_stay_text(nasty):
    made = decision("fail", [check(nasty, "fail", why=nasty)], condition=nasty, sentence=nasty, reasons=[nasty])
    text = junit.render([made], nasty, "2026-11-28")
    root = ElementTree.fromstring(text.encode())
    shown = junit.NOT_XML.sub("", nasty)
    assert root.get("name") == shown
    assert [case.get("name") for case in root.iter("testcase")] == ["decision", shown]
    assert len(list(root.iter("failure"))) == 2
    assert not any(character in text for character in "\x00\x1b\ufffe\ud800")


def test_elements_stand_in_the_order_and_with_the_attributes_that_the_common_schemas_share():
    root = ElementTree.fromstring(junit.render([decision("fail")], "audit", "2026-11-28").encode())
    assert root.tag == "testsuites"
    for suite in root:
        assert {"name", "tests", "failures", "errors", "time", "timestamp"} <= set(suite.keys())
        assert [child.tag for child in suite] == ["properties", "testcase", "testcase"]
        for case in suite.iter("testcase"):
            assert {"name", "classname", "time"} <= set(case.keys())
            assert all({"type", "message"} <= set(child.keys()) for child in case)
