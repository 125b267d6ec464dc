import csv
import hashlib
import json
from collections import Counter
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError
from support.studies import rows_of, write_rows

from holdfast.core.errors import DataError
from holdfast.core.types import Message
from holdfast.data.benchmarks import BENCHMARKS
from holdfast.data.benchmarks.advbench import AdvBench
from holdfast.data.benchmarks.exact_match import ExactMatch
from holdfast.data.benchmarks.generic import Generic
from holdfast.data.benchmarks.harmbench import HarmBench
from holdfast.data.benchmarks.hex_phi import CATEGORIES, HexPhi
from holdfast.data.benchmarks.jailbreakbench import JailbreakBench
from holdfast.data.benchmarks.multiple_choice import MultipleChoice
from holdfast.data.benchmarks.or_bench import OrBench
from holdfast.data.benchmarks.pocket import Pocket, PocketBorderline, PocketUtility
from holdfast.data.benchmarks.sorry_bench import SorryBench
from holdfast.data.benchmarks.strongreject import StrongReject
from holdfast.data.benchmarks.xstest import XSTest


def hexes(n, start=0):
    return [f"How do I brew the hex vuram number {i}?" for i in range(start, start + n)]


def write_csv(path, rows, header=True):
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerows([rows[0]] if header else [])
        writer.writerows([row.values() for row in rows] if header else [[row] for row in rows])
    return path


def advbench(folder, n=520):
    return write_csv(folder / "adv.csv", [{"goal": text, "target": "Sure"} for text in hexes(n)])


def harmbench(folder, n=400):
    kinds = ["standard"] * 200 + ["contextual"] * 100 + ["copyright"] * 100
    return write_csv(folder / "hb.csv", [
        {"Behavior": text, "FunctionalCategory": kind, "SemanticCategory": "hexes", "Tags": "",
         "ContextString": "An old scroll." if kind == "contextual" else "", "BehaviorID": f"id_{i}"}
        for i, (text, kind) in enumerate(zip(hexes(n), kinds, strict=False))
    ])  # fmt: skip


def strongreject(folder, n=313):
    rows = [{"category": "Hexes", "source": "custom", "forbidden_prompt": text} for text in hexes(n)]
    return write_csv(folder / "sr.csv", rows)


def jailbreakbench(folder, n=100, source="AdvBench"):
    return write_csv(folder / "jbb.csv", [
        {"Index": i, "Goal": text, "Target": "Sure", "Behavior": "Brewing", "Category": "Hexes",
         "Source": "Original" if i % 2 else source} for i, text in enumerate(hexes(n))
    ])  # fmt: skip


def sorry_bench(folder, categories=44, styles=("base", "slang")):
    return write_rows(folder / "question.jsonl", [
        {"question_id": 10 * c + i, "category": str(c), "turns": [f"{style}: brew hex {c}.{i}"], "prompt_style": style}
        for style in styles for c in range(1, categories + 1) for i in range(10)
    ])  # fmt: skip


def xstest(folder, label=True):
    rows = [{"id": i, "prompt": text, "type": "homonyms" if i < 250 else "contrast_homonyms",
             "label": "safe" if i < 250 else "unsafe", "focus": "brew", "note": ""} for i, text in enumerate(hexes(450))]  # fmt: skip
    return write_csv(folder / "xs.csv", rows if label else [{k: r[k] for k in ("id", "type", "prompt")} for r in rows])


def or_bench(folder, n=1319):
    return write_csv(folder / "or.csv", [{"prompt": text, "category": "privacy"} for text in hexes(n)])


def hex_phi(folder, numbers=(1, *range(3, 12)), each=30):
    place = folder / "hexphi"
    place.mkdir(exist_ok=True)
    for number in numbers:
        write_csv(place / f"category_{number}.csv", hexes(each, 100 * number), header=False)
    return place


LAYOUTS = [(AdvBench, advbench, 520), (HarmBench, harmbench, 300), (StrongReject, strongreject, 313), (OrBench, or_bench, 1319),
           (JailbreakBench, jailbreakbench, 100), (SorryBench, sorry_bench, 440), (XSTest, xstest, 250)]  # fmt: skip


def test_pocket_benchmark_has_the_papers_shape():
    benchmark = Pocket().load()
    assert Counter(prompt.category for prompt in benchmark.prompts) == dict.fromkeys(benchmark.categories, 30)
    assert len(benchmark.categories) == 11
    assert set(benchmark.policies) == set(benchmark.categories)
    assert all(category in policy for category, policy in benchmark.policies.items())


def test_utility_and_borderline_sets_have_references():
    assert len(PocketUtility().load().prompts) == 220
    assert len(PocketBorderline().load().prompts) == 110
    for suite in (Pocket(), PocketUtility(), PocketBorderline()):
        assert all(prompt.reference["steps"] for prompt in suite.load().prompts)


def test_a_bad_prompt_is_named_by_line_and_reason(tmp_path):
    first = rows_of("benchmark.jsonl")[0]
    rows = [first, {"prompt": "x"}, {"category": "a", "prompt": " "}, first, {**first, "prompt": "y", "policy": "z"},
            {"category": "a", "prompt": "b", "reference": 7}]  # fmt: skip
    path = write_rows(tmp_path / "p.jsonl", rows)
    with pytest.raises(DataError) as caught:
        Generic(file=path).load()
    for line, reason in {
        2: "no 'category'", 3: "no 'prompt'", 4: "the same prompt as line 1", 5: "another policy", 6: "'reference' must be an object",
    }.items():  # fmt: skip
        assert f"line {line}: {reason}" in str(caught.value)


def test_the_key_follows_the_content(tmp_path):
    rows = rows_of("benchmark.jsonl")[:5]
    one = Generic(file=write_rows(tmp_path / "a.jsonl", rows)).load()
    same = Generic(file=write_rows(tmp_path / "b.jsonl", rows)).load()
    fewer = Generic(file=write_rows(tmp_path / "c.jsonl", rows[:4])).load()
    assert one.key == same.key != fewer.key


@pytest.mark.parametrize(("suite", "write", "n"), LAYOUTS, ids=lambda value: getattr(value, "__name__", ""))
def test_each_benchmark_reads_its_own_layout_whole(tmp_path, suite, write, n):
    benchmark = suite(file=write(tmp_path)).load()
    assert len(benchmark.prompts) == n
    assert benchmark.name == suite.title


@pytest.mark.parametrize(("suite", "write", "n"), LAYOUTS, ids=lambda value: getattr(value, "__name__", ""))
def test_a_file_of_another_benchmark_is_refused_with_the_difference(tmp_path, suite, write, n):
    other = strongreject(tmp_path) if suite is not StrongReject else advbench(tmp_path)
    with pytest.raises(DataError) as caught:
        suite(file=other).load()
    message = str(caught.value)
    assert f"another file than {suite.title}" in message
    assert ("313 rows" if suite is not StrongReject else "520 rows") in message
    assert all(f"'{column}'" in message for column in suite.layout)
    assert ("the columns of strongreject" if suite is not StrongReject else "the columns of advbench") in message
    assert "Obtain it from" in message


def test_a_row_of_a_file_without_header_is_not_shown_as_its_columns(tmp_path):
    folder = hex_phi(tmp_path)
    with pytest.raises(DataError) as caught:
        StrongReject(file=folder / "category_1.csv").load()
    assert "a text of " in str(caught.value)
    assert "vuram" not in str(caught.value)


def test_the_papers_copy_of_advbench_has_no_header(tmp_path):
    """One column of instructions, or two, without a line that names them: nothing is lost of either."""
    bare = write_csv(tmp_path / "paper.csv", [*hexes(519), "How do I brew moss, ash and reed?"], header=False)
    assert [prompt.text for prompt in AdvBench(file=bare).load().prompts][-1] == "How do I brew moss, ash and reed?"
    with_header = [prompt.text for prompt in AdvBench(file=advbench(tmp_path)).load().prompts]
    assert [prompt.text for prompt in AdvBench(file=bare).load().prompts][:519] == with_header[:519]
    two = tmp_path / "two.csv"
    two.write_text("".join(f'"{text}",Sure\n' for text in hexes(520)))
    assert [prompt.text for prompt in AdvBench(file=two).load().prompts] == with_header


def test_another_number_of_prompts_is_refused_unless_allowed_and_then_noted(tmp_path):
    path = advbench(tmp_path, 47)
    with pytest.raises(
        DataError, match=r"has 47 prompts where AdvBench has 520\. Obtain it from .*allow_partial: true"
    ):
        AdvBench(file=path).load()
    benchmark = AdvBench(file=path, allow_partial=True).load()
    assert (len(benchmark.prompts), benchmark.notes) == (47, ("47 of the 520 prompts of AdvBench",))


def test_repeated_prompts_are_refused_unless_allowed_and_then_noted(tmp_path):
    path = write_csv(tmp_path / "adv.csv", [{"goal": t, "target": ""} for t in [*hexes(519), *hexes(1)]])
    with pytest.raises(DataError, match="line 521: the same prompt as line 2"):
        AdvBench(file=path).load()
    benchmark = AdvBench(file=path, allow_partial=True).load()
    assert (len(benchmark.prompts), benchmark.notes) == (519, ("1 repeated prompt(s) asked once",))


def test_bad_rows_of_a_benchmark_are_named_by_place_and_reason(tmp_path):
    path = harmbench(tmp_path)
    text = path.read_text().replace("hexes,,An old scroll.,id_210", "hexes,,,id_210")
    path.write_text(text.replace("standard,hexes,,,id_3\n", "other,hexes,,,id_3\n"))
    with pytest.raises(DataError) as caught:
        HarmBench(file=path).load()
    assert "line 5: the functional category 'other' is none of standard, contextual, copyright" in str(caught.value)
    assert "line 212: no 'ContextString'" in str(caught.value)
    path = xstest(tmp_path)
    path.write_text(path.read_text().replace("homonyms,safe,brew", "homonyms,maybe,brew", 1))
    with pytest.raises(DataError, match="line 2: the label 'maybe' is neither safe nor unsafe"):
        XSTest(file=path).load()


def test_a_pinned_file_must_be_that_file(tmp_path):
    path = advbench(tmp_path)
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    assert len(AdvBench(file=path, sha256=found.upper()).load().prompts) == 520
    with pytest.raises(DataError, match=f"SHA-256 {found}, but the study pins {'0' * 64}"):
        AdvBench(file=path, sha256="0" * 64).load()
    folder = hex_phi(tmp_path)
    with pytest.raises(DataError, match="has the SHA-256"):
        HexPhi(files=folder, sha256={"category_3.csv": "0" * 64}).load()
    with pytest.raises(ValidationError, match=r"none of the files\. Did you mean 'category_3.csv'"):
        HexPhi(files=folder, sha256={"categry_3.csv": "0" * 64})


def test_policies_come_from_a_file_that_names_every_category(tmp_path):
    path, policies = or_bench(tmp_path), tmp_path / "policies.yaml"
    policies.write_text(yaml.safe_dump({"privacy": "Keep secrets."}))
    assert OrBench(file=path, policies=policies).load().policies == {"privacy": "Keep secrets."}
    policies.write_text(json.dumps({"privaci": "Keep secrets."}))
    with pytest.raises(DataError) as caught:
        OrBench(file=path, policies=policies).load()
    assert "'privaci' is no category. Did you mean 'privacy'?" in str(caught.value)
    assert "'privacy' has no policy." in str(caught.value)


def test_hex_phi_tells_that_upstream_withholds_a_category(tmp_path):
    benchmark = HexPhi(files=hex_phi(tmp_path)).load()
    assert Counter(prompt.category for prompt in benchmark.prompts) == dict.fromkeys(benchmark.categories, 30)
    assert benchmark.categories[-1] == "Tailored Financial Advice"
    assert benchmark.notes == ("300 of the 330 prompts: upstream withholds category 2 (Child Abuse Content)",)
    assert set(benchmark.policies) == set(benchmark.categories)
    whole = HexPhi(files=hex_phi(tmp_path, numbers=CATEGORIES)).load()
    assert (len(whole.prompts), whole.notes) == (330, ())
    named = HexPhi.model_validate(
        {"files": ["hexphi/category_4.csv"], "allow_partial": True}, context={"folder": tmp_path}
    )
    beside = HexPhi.model_validate({"files": "hexphi"}, context={"folder": tmp_path})
    assert (len(named.load().prompts), len(beside.load().prompts)) == (30, 330)


def test_hex_phi_names_the_categories_that_are_not_whole(tmp_path):
    folder = hex_phi(tmp_path)
    (folder / "category_7.csv").unlink()
    write_csv(folder / "category_9.csv", hexes(29), header=False)
    with pytest.raises(
        DataError, match=r"269 prompts where HEx-PHI has 300 \(no category_7.csv, category_9.csv has 29 of 30\)"
    ):
        HexPhi(files=folder).load()
    assert HexPhi(files=folder, allow_partial=True).load().notes[0].startswith("269 of the 300 prompts of HEx-PHI (no ")
    with pytest.raises(ValidationError, match=r"is no folder with the files category_1.csv"):
        HexPhi(files=str(tmp_path / "nowhere"))
    with pytest.raises(ValidationError, match=r"adv.csv does not say its category"):
        HexPhi(files=[str(advbench(tmp_path))])
    advbench(tmp_path).rename(folder / "category_7.csv")
    with pytest.raises(DataError, match=r"category_7.csv is another file than HEx-PHI: .*the columns of advbench"):
        HexPhi(files=folder).load()


def test_harmbench_puts_contexts_first_and_notes_what_it_leaves_out(tmp_path):
    benchmark = HarmBench(file=harmbench(tmp_path)).load()
    assert benchmark.prompts[200].text == f"An old scroll.\n\n---\n\n{hexes(1, 200)[0]}"
    assert benchmark.notes == ("100 left out: copyright behaviours, whose measure is an overlap of texts",)
    assert len(HarmBench(file=harmbench(tmp_path), functions=("copyright",)).load().prompts) == 100
    assert HarmBench(file=harmbench(tmp_path, 80)).load().notes == ("the validation split: 80 of the 400 behaviours",)


def test_smaller_sets_of_upstream_are_taken_and_noted(tmp_path):
    assert StrongReject(file=strongreject(tmp_path, 60)).load().notes == ("the small set: 60 of the 313 prompts",)
    with pytest.raises(DataError, match=r"655 prompts where OR-Bench has 1,319 \(`subset: toxic` has that number\)"):
        OrBench(file=or_bench(tmp_path, 655)).load()
    assert len(OrBench(file=or_bench(tmp_path, 655), subset="toxic").load().prompts) == 655


def test_jailbreakbenchs_two_files_are_told_apart(tmp_path):
    with pytest.raises(DataError, match="looks like the file of `split: harmful`"):
        JailbreakBench(file=jailbreakbench(tmp_path), split="benign").load()
    benign = jailbreakbench(tmp_path, source="Original")
    assert len(JailbreakBench(file=benign, split="benign").load().prompts) == 100
    with pytest.raises(DataError, match="looks like the file of `split: benign`"):
        JailbreakBench(file=benign).load()


def test_sorry_benchs_versions_and_styles(tmp_path):
    benchmark = SorryBench(file=sorry_bench(tmp_path)).load()
    assert Counter(prompt.category for prompt in benchmark.prompts) == dict.fromkeys(benchmark.categories, 10)
    assert benchmark.notes == ("440 left out: other styles than base",)
    older = sorry_bench(tmp_path, 45, ["base"])
    assert SorryBench(file=older, version=202406).load().categories[11] == "Impersonation"
    with pytest.raises(DataError, match="the category '45' is no number from 1 to 44; is `version` right"):
        SorryBench(file=older).load()
    with pytest.raises(DataError, match="`version: 202503` has that number"):
        SorryBench(file=sorry_bench(tmp_path), version="202406").load()


@pytest.mark.parametrize("label", [True, False], ids=["with labels", "older, without"])
def test_xstest_asks_the_safe_prompts_of_both_layouts(tmp_path, label):
    path = xstest(tmp_path, label)
    benchmark = XSTest(file=path).load()
    assert [prompt.text for prompt in benchmark.prompts] == hexes(250)
    assert benchmark.notes == ("200 left out: unsafe ones",)
    assert len(XSTest(file=path, label="unsafe").load().prompts) == 200
    assert len(XSTest(file=path, label="all").load().prompts) == 450


def test_generic_takes_columns_by_name(tmp_path):
    path = write_csv(
        tmp_path / "mine.csv", [{"q": "a?", "why": "No a.", "right": "b"}, {"q": "c?", "why": "", "right": ""}]
    )
    suite = Generic(file=path, columns={"prompt": "q", "policy": "why", "reference": "right"}, category="odd")
    benchmark = suite.load()
    assert [(p.category, p.text, p.reference) for p in benchmark.prompts] == [
        ("odd", "a?", {"answer": "b"}),
        ("odd", "c?", {}),
    ]
    assert benchmark.policies == {"odd": "No a."}
    with pytest.raises(DataError, match=r"column\(s\) 'q', 'why', 'right', where 'q', 'topic' were expected"):
        Generic(file=path, columns={"prompt": "q", "category": "topic"}).load()
    with pytest.raises(DataError, match="where 'q', 'policy' were expected"):
        Generic(file=path, columns={"prompt": "q", "policy": "policy"}, category="odd").load()


def test_exact_match_reads_gsm8ks_layout_with_worked_examples(tmp_path):
    rows = [{"question": "Moss?", "answer": "2+2=4 so\n#### 4"}, {"question": "Ash?", "answer": "#### 1,200"}]
    path, shots = write_rows(tmp_path / "q.jsonl", rows), write_rows(tmp_path / "s.jsonl", rows[:1])
    settings = {"file": path, "answer_after": "####", "numeric": True}
    first, second = ExactMatch(**settings, examples=shots).load().prompts
    assert first.reference == {"answer": "4", "numeric": True, "after": "####"}
    assert (first.category, second.reference["answer"]) == ("all", "1,200")
    assert second.history == (Message("user", "Moss?"), Message("assistant", "2+2=4 so\n#### 4"))
    write_rows(path, [*rows, {"question": "Reed?", "answer": "3"}, {"question": "Salt?", "answer": "#### some"}])
    with pytest.raises(DataError) as caught:
        ExactMatch(**settings).load()
    assert "line 3: the answer has nothing behind '####'" in str(caught.value)
    assert "line 4: the answer is not one plain number" in str(caught.value)


def test_exact_match_takes_several_right_answers(tmp_path):
    rows = [
        {"question": "Lead?", "answer": ["Pb", "plumbum"]},
        {"question": "Tin?", "answer": "Sn", "aliases": ["stannum", "Sn"]},
        {"question": "Gold?", "answer": "Au", "aliases": None},
    ]
    benchmark = ExactMatch(file=write_rows(tmp_path / "q.jsonl", rows), contains=True).load()
    assert [prompt.reference["answer"] for prompt in benchmark.prompts] == [["Pb", "plumbum"], ["Sn", "stannum"], "Au"]
    assert all(prompt.reference["contains"] for prompt in benchmark.prompts)
    table = tmp_path / "q.csv"
    table.write_text('question,answer,also\nLead?,Pb,"[""plumbum"", ""lead""]"\nTin?,Sn,stannum\nGold?,Au,\n')
    read = ExactMatch(file=table, columns={"aliases": "also"}).load().prompts
    assert [prompt.reference["answer"] for prompt in read] == [["Pb", "plumbum", "lead"], ["Sn", "stannum"], "Au"]
    write_rows(tmp_path / "q.jsonl", [{"question": "Lead?", "answer": "[Pb"}, {"question": "Tin?", "answer": [{}]}])
    with pytest.raises(DataError) as caught:
        ExactMatch(file=tmp_path / "q.jsonl").load()
    assert "line 1: 'answer' begins with '[', but is no JSON list" in str(caught.value)
    assert "line 2: 'answer' must hold a text, a number, or a list of them" in str(caught.value)
    with pytest.raises(ValidationError, match="`numeric` or `contains`, not both"):
        ExactMatch(file=table, numeric=True, contains=True)


def test_multiple_choice_reads_mmlu_and_arc(tmp_path):
    bare = tmp_path / "mmlu.csv"
    bare.write_text("Which grows?,moss,ash,wire,salt,A\nWhich burns?,stone,reed,salt,wire,B\n")
    header, columns = ["question", "A", "B", "C", "D", "answer"], {"choices": ["A", "B", "C", "D"]}
    first, _ = MultipleChoice(file=bare, header=header, columns=columns, examples=bare).load().prompts
    assert first.text.startswith("Which grows?\nA. moss\nB. ash\nC. wire\nD. salt\n\nReply with the letter")
    assert first.reference == {"letter": "A", "choices": ["moss", "ash", "wire", "salt"]}
    assert [turn.content for turn in first.history if turn.role == "assistant"] == ["A", "B"]
    hub = [{"question": "Two?", "subject": "sums", "choices": ["1", "2", "3", "0"], "answer": 1},
           {"question": "Moss?", "subject": "moss", "choices": {"text": ["a b", "c d"], "label": ["1", "2"]}, "answer": "2"},
           {"question": "Reed?", "subject": "moss", "choices": ["wet", "dry"], "answer": "dry"}]  # fmt: skip
    benchmark = MultipleChoice(file=write_rows(tmp_path / "hub.jsonl", hub)).load()
    assert [(p.category, p.reference["letter"]) for p in benchmark.prompts] == [
        ("sums", "B"),
        ("moss", "B"),
        ("moss", "B"),
    ]


def test_multiple_choice_does_not_guess_what_the_answer_means(tmp_path):
    rows = [{"question": "Sum?", "choices": ["1", "2", "3", "0"], "answer": "1"},
            {"question": "Moss?", "choices": ["a", "b"], "answer": "E"},
            {"question": "Ash?", "choices": ["x", "x"], "answer": "A"}]  # fmt: skip
    path = write_rows(tmp_path / "mc.jsonl", rows)
    with pytest.raises(DataError) as caught:
        MultipleChoice(file=path).load()
    assert "line 1: the answer '1' can mean A and B; say `answer_as: letter`" in str(caught.value)
    assert "line 2: the answer 'E' is none of the 2 choices" in str(caught.value)
    assert "line 3: two choices are the same" in str(caught.value)
    (prompt,) = MultipleChoice(file=write_rows(path, rows[:1]), answer_as="index").load().prompts
    assert prompt.reference["letter"] == "B"


def test_the_page_of_benchmarks_names_every_one():
    page = (Path(__file__).parents[2] / "docs" / "benchmarks.md").read_text()
    for kind in BENCHMARKS:
        assert f"`{kind}`" in page, kind
