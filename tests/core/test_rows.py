"""Files as users really have them: each mistake is named with its place and its remedy, and none ends in a traceback."""

import gzip
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from holdfast.core.errors import DataError
from holdfast.core.rows import read_rows
from holdfast.data.benchmarks.generic import Generic
from holdfast.data.training.columns import Columns

TABLE = "prompt,category\nHow is moss dried?,moss\n“Where is the café?”,naïve\n"
OBJECTS = [{"prompt": "How is moss dried?", "category": "moss"}, {"prompt": "Where is the café?", "category": "reed"}]
LINES = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in OBJECTS)


def rows(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return list(read_rows(path))


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.csv", TABLE.encode("cp1252"), r"a.csv, line 3: not UTF-8: byte 0x93, which is '“' in Windows-1252.*iconv"),
        ("a.csv", "p,c\nä,b\n".encode("latin-1"), r"a.csv, line 2: not UTF-8: byte 0xE4, which is 'ä'"),
        ("a.csv", TABLE.encode("utf-16"), r"a.csv is encoded in UTF-16, not UTF-8. Save it as UTF-8.*iconv -f utf-16"),
        ("a.csv", TABLE.encode("utf-16-le"), r"UTF-16 without a byte-order mark.*iconv -f utf-16-le"),
        ("a.csv", TABLE.encode("utf-16-be"), r"UTF-16 without a byte-order mark.*iconv -f utf-16-be"),
        ("a.jsonl", LINES.encode("utf-16"), r"a.jsonl is encoded in UTF-16"),
        ("a.json", json.dumps(OBJECTS, ensure_ascii=False).encode("latin-1"), r"a.json, line 1: not UTF-8: byte 0xE9"),
        ("a.csv", TABLE.replace(",", ";"), r"a.csv, line 1: the columns seem to be separated by semicolons, not by commas. Save"),
        ("a.csv", TABLE.replace(",", "\t"), r"a.csv, line 1: .* by tabs, not by commas. Give the file a name that ends with .tsv"),
        ("a.tsv", TABLE, r"a.tsv, line 1: .* by commas, not by tabs. Give the file a name that ends with .csv"),
        ("a.csv", "p,c,p\n1,2,3\n", r"a.csv, line 1: the column\(s\) 'p' are named twice"),
        ("a.csv", 'p,c\n"' + "moss " * 50_000, r"a.csv, line 2: not CSV: .*Is a quotation mark not closed"),
        ("a.csv", "", r"a.csv has no rows: it is empty"),
        ("a.jsonl", "\n \n", r"a.jsonl has no rows: it is empty"),
        ("a.csv", "prompt,category\n", r"a.csv has no rows: it holds no more than its header"),
        ("a.csv", LINES, r"a.csv is JSON, not a table. Give it a name that ends with .json or .jsonl"),
        ("a.csv", json.dumps(OBJECTS, indent=1), r"a.csv is JSON, not a table"),
        ("a.jsonl", TABLE, r"a.jsonl: no line is a JSON object. Line 1: not JSON .* Is it a table\? Then .* .csv"),
        ("a.json", json.dumps({"data": OBJECTS}, indent=1), r"a.json: it is one JSON object, .* Are the rows in 'data'\?"),
        ("a.jsonl", json.dumps(OBJECTS[0], indent=1), r"a.jsonl: it is one JSON object, where one object on each line"),
        ("a.json", json.dumps(OBJECTS)[:-1] + ",]", r"not one whole JSON list: a comma stands before the closing bracket \(line 1"),
        ("a.json", json.dumps(OBJECTS)[:-20], r"a.json is not one whole JSON list: not JSON .*Or is it cut off"),
        ("a.jsonl", LINES.replace("}\n", "},\n"), r"Line 1: a comma stands behind the object. Remove the commas between lines"),
        ("a.jsonl", "{'prompt': 'x'}\n", r"Line 1: not JSON .* need double quotes"),
        ("a.json", "[" * 100_000, r"a.json is not one whole JSON list"),
        ("a.csv.gz", gzip.compress(TABLE.encode(), mtime=0)[:-9], r"a.csv.gz is a gzip file that is damaged or cut off"),
        ("a.csv", b"PK\x03\x04more", r"a.csv is a zip archive, which an Excel workbook is too"),
        ("a.csv", b"PAR1more", r"a.csv is a Parquet file. Give it a name that ends with .parquet"),
        ("a.parquet", b"PAR1more", r"a.parquet is not a whole Parquet file"),
        ("a.parquet", b"", r"a.parquet is not a whole Parquet file"),
        ("a.csv", "<!DOCTYPE html><html>", r"a.csv is a web page. Download the file itself"),
        ("a.csv", "version https://git-lfs.github.com/spec/v1\n", r"a pointer of Git LFS"),
        ("a.txt", "x", r"the name of .*a.txt does not tell what it is; use one of .jsonl"),
    ],
)  # fmt: skip
def test_a_file_that_is_not_what_its_name_says_is_named_with_a_remedy(tmp_path, name, content, said):
    with pytest.raises(DataError, match=f"(?s){said}"):
        rows(tmp_path / name, content)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.jsonl", LINES + '{"prompt": "a\\ud83d"}\n', {"line 3": "'prompt' holds half of a character"}),
        ("a.jsonl", LINES + '{"turns": ["a\\ud83d"]}\n', {"line 3": "'turns' holds half of a character"}),
        ("a.json", '[{"prompt": "a\\u0000"}, {"prompt": "b"}]', {"row 1": "'prompt' holds a NUL character"}),
        ("a.csv", TABLE + "a\0b,c\n", {"line 4": "'prompt' holds a NUL character"}),
        ("a.jsonl", LINES + "[1]\n", {"line 3": "expected a JSON object, found list"}),
        ("a.jsonl", LINES.encode() + '{"prompt": "é"}\n'.encode("cp1252"), {"line 3": "byte 0xE9, which is 'é'"}),
        ("a.csv", TABLE + "a;b\n", {"line 4": "1 fields where 2 were expected (prompt, category); the columns seem to be "
                                              "separated by semicolons"}),
        ("a.csv", TABLE + "a,b,c\n", {"line 4": "3 fields where 2 were expected (prompt, category)"}),
    ],
)  # fmt: skip
def test_a_row_that_cannot_be_used_is_named_by_its_line(tmp_path, name, content, said):
    problems = {place: row for place, row in rows(tmp_path / name, content) if isinstance(row, str)}
    assert problems.keys() == said.keys()
    for place, part in said.items():
        assert part in problems[place]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", TABLE.encode("utf-8-sig")),
        ("a.jsonl", LINES.encode("utf-8-sig")),
        ("a.json", json.dumps(OBJECTS).encode("utf-8-sig")),
        ("a.csv", gzip.compress(TABLE.encode(), mtime=0)),  # packed, whatever the name says
        ("a.csv.gz", TABLE.encode()),
        ("a.jsonl", json.dumps(OBJECTS)),  # a list where lines are expected, and the reverse
        ("a.json", LINES),
    ],
)
def test_what_is_clear_is_read(tmp_path, name, content):
    read = rows(tmp_path / name, content)
    assert [row["prompt"].strip("“”") for _, row in read] == ["How is moss dried?", "Where is the café?"]


def test_a_folder_in_place_of_a_file_is_named_with_what_is_in_it(tmp_path):
    (tmp_path / "rows.jsonl").touch()
    with pytest.raises(DataError, match=r"is a folder, but a file is needed. Name a file in it, such as rows.jsonl"):
        list(read_rows(tmp_path))


def test_a_study_that_names_a_folder_is_told_so_too(tmp_path):
    (tmp_path / "rows.jsonl").touch()
    with pytest.raises(
        ValidationError, match=r"is a folder, but a file is needed. Name a file in it, such as rows.jsonl"
    ):
        Generic(file=tmp_path)


CONTENTS = {
    "m.jsonl": (LINES + '{"prompt": "Was ist \\u00e4lter?", "category": "moss"}\n').encode(),
    "m.json": json.dumps(OBJECTS, indent=1).encode(),
    "m.csv": TABLE.encode(),
    "m.tsv": TABLE.replace(",", "\t").encode(),
    "m.csv.gz": gzip.compress(TABLE.encode(), mtime=0),
}
PIECES = [
    b"",
    b",",
    b'"',
    b"\n",
    b"\0",
    b"\xff\xfe",
    b"\xe9",
    b"]",
    b"}",
    b";",
    b"\\ud800",
    b"[[",
    b"\r",
    b"{",
    b"1e999",
]


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from(sorted(CONTENTS)),
    changes=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 4), st.sampled_from(PIECES)), min_size=1, max_size=4),
    encoding=st.sampled_from(["utf-8", "utf-16", "utf-16-le", "cp1252"]),
)
def test_no_mutation_of_a_file_ends_in_a_traceback(tmp_path, name, changes, encoding):
    """Bytes cut out, put in and encoded anew: the rows are read, or a DataError says what is wrong."""
    content = CONTENTS[name]
    if encoding != "utf-8" and not name.endswith(".gz"):
        content = content.decode().encode(encoding, errors="replace")
    for share, n_cut, piece in changes:
        place = int(share * len(content))
        content = content[:place] + piece + content[place + n_cut :]
    path = tmp_path / name
    path.write_bytes(content)
    source = Columns(file=path, columns={"user": "prompt", "assistant": "category"})
    for load in (lambda: [example.id for example in source.examples(0)], lambda: Generic(file=path).load().key):
        try:
            said = load()
        except DataError as error:
            said = str(error) if str(path) in str(error) else ""
        assert said and str(said).encode()


def test_a_list_too_long_to_be_read_as_a_whole_is_read_object_by_object(tmp_path, monkeypatch):
    many = [{"prompt": "How is “moss” dried? }]," * n, "n": n} for n in range(40)]
    whole = rows(tmp_path / "a.json", json.dumps(many, indent=1))
    monkeypatch.setattr("holdfast.core.rows.MOST_IN_ONE_LIST", 100)
    monkeypatch.setattr("holdfast.core.long_lists.CHUNK", 7)
    assert rows(tmp_path / "a.json", json.dumps(many, indent=1)) == whole == rows(tmp_path / "b.json", json.dumps(many))
    for bad, said in (
        (json.dumps(many)[:-9], "not one whole JSON list.*cut off"), (json.dumps(many) + "x", "'x' stands behind the list"),
        (json.dumps(many).replace("},", "}", 1), "a comma is missing before '{'"), (json.dumps(many)[:-1], "its end is missing"),
        (json.dumps(many).replace(" 7}", " }"), "not one whole JSON list"),
    ):  # fmt: skip
        with pytest.raises(DataError, match=said):
            rows(tmp_path / "a.json", bad)
