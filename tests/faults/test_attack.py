"""The table of `make attack` counts what failed."""

from faults.attack import Row, rows_of, table_of

REPORT = """<testsuites><testsuite>
<testcase name="a" time="0.5"/><testcase name="b" time="2.5"><failure/></testcase><testcase name="c" time="9"><skipped/></testcase>
<testcase name="d" time="3"><properties><property name="attack" value="kills"/><property name="count" value="50"/>
<property name="seconds" value="1.5"/><property name="faults" value="0"/></properties><failure/></testcase>
<testcase name="e" time="3"><properties><property name="attack" value="files"/><property name="count" value="3000"/>
<property name="seconds" value="0.25"/><property name="bytes" value="7000000"/><property name="faults" value="4"/></properties></testcase>
</testsuite></testsuites>"""


def test_the_table_counts_attacks_tests_and_what_failed():
    rows = list(rows_of(REPORT, "servers", 400_000_000))
    assert rows == [
        Row("kills", 50, 1, 1.5, 400_000_000),
        Row("files", 3000, 4, 0.25, 7_000_000),
        Row("servers", 2, 1, 2.5, 400_000_000),
    ]
    table = table_of(rows, 30)
    assert "| files | 3,000 | 4 | 0.25 | 7 |" in table
    assert "3 attacks, 6 faults, 30 minutes." in table
