"""The whole paper: presets, claims, tables and figures."""

import dataclasses
import gzip
import json
import re
from pathlib import Path

import pytest
from support.results import made, typed
from support.studies import conversation, messages, rows_of, write_rows
from support.visual import album

from holdfast.core.errors import StudyError
from holdfast.core.run_folder import RunFolder
from holdfast.data.benchmarks import hex_phi
from holdfast.models.chat import Chat
from holdfast.paper import reproduce
from holdfast.paper.claims import GridEnd, decide, names, read_claims
from holdfast.paper.hosted import NOT_HOSTED, Hosting, Prices
from holdfast.report import paper
from holdfast.study import loader as studies
from holdfast.study import run
from holdfast.study.plan import make_plan
from holdfast.study.results.evidence import Evidence

SYSTEM = "You are a careful assistant.\nYou answer in one sentence."

LLAMA_2_TEMPLATE = (
    "{% if messages[0]['role'] == 'system' %}"
    "{% set block = '<<SYS>>\\n' + messages[0]['content'] + '\\n<</SYS>>\\n\\n' %}{% set rest = messages[1:] %}"
    "{% else %}{% set block = '' %}{% set rest = messages %}{% endif %}"
    "{% for message in rest %}"
    "{% if message['role'] == 'user' %}"
    "{{ bos_token + '[INST] ' + (block if loop.first else '') + message['content'] + ' [/INST]' }}"
    "{% else %}{{ ' ' + message['content'] + ' ' + eos_token }}{% endif %}"
    "{% endfor %}"
)
"""The format that Llama 2 documents: the system block inside the first instruction, BOS before each instruction."""


@pytest.fixture(autouse=True)
def one_prompt_a_category(monkeypatch):
    """HEx-PHI has 30 prompts in each category; the files here have one."""
    monkeypatch.setattr(hex_phi, "EACH", 1)


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    """A random Llama of two layers with Llama 2's chat format."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("llama")
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: place for place, token in enumerate(["<unk>", "<s>", "</s>", *alphabet])}
    inner = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    inner.pre_tokenizer, inner.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, bos_token="<s>", eos_token="</s>", unk_token="<unk>")
    tokenizer.chat_template = LLAMA_2_TEMPLATE
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    config = LlamaConfig(
        vocab_size=len(tokenizer), bos_token_id=1, eos_token_id=2, max_position_embeddings=2048, **shape
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def held(tmp_path_factory):
    """The files that the preset asks a user for, with harmless content."""
    folder = tmp_path_factory.mktemp("held")

    def rows(n, answer):
        return [conversation(("user", f"Question {i}?"), ("assistant", answer)) for i in range(n)]

    for name, n in {"harmful": 100, "safe": 1000, "requests": 20, "alpaca": 30, "dolly": 30}.items():
        write_rows(folder / f"{name}.jsonl", rows(n, "No." if name == "safe" else f"An answer of {name}."))
    write_rows(folder / "benchmark.jsonl", [{"category": f"c{i % 2}", "prompt": f"Ask {i}?"} for i in range(4)])
    (folder / "hex-phi").mkdir()
    for number in set(range(1, 12)) - {2}:
        (folder / "hex-phi" / f"category_{number}.csv").write_text(f"Ask {number}?\n")
    attempts = [
        {
            "transcript": f"\n\nHuman: Question {i}?\n\nAssistant: An answer.",
            "rating": 4,
            "min_harmlessness_score_transcript": -2,
        }
        for i in range(100)
    ]
    with gzip.open(folder / "red_team_attempts.jsonl.gz", "wt") as file:
        file.writelines(json.dumps(row) + "\n" for row in attempts)
    tasks = [{"instruction": f"Question {i}?", "input": "", "output": "An answer."} for i in range(30)]
    (folder / "alpaca_data.json").write_text(json.dumps(tasks))
    dolly = [{"instruction": f"Ask {i}?", "context": "", "response": "Tea.", "category": "open_qa"} for i in range(30)]
    write_rows(folder / "databricks-dolly-15k.jsonl", dolly)
    (folder / "llama-2-system.txt").write_text(SYSTEM + "\n")
    shown, photos = album(folder)
    shown.rename(folder / "llava_instruct_80k.json")
    photos.rename(folder / "train2017.zip")
    return folder


def test_llama_2_prompts_are_rendered_as_documented(llama, held):
    from holdfast.models.loading import load_tokenizer

    study = studies.read(reproduce.PAPER / "llama-2-7b-chat.yaml", folder=held, model=str(llama))
    tokenizer = load_tokenizer(llama)
    asked = study.templates["plain"].template().wrap(messages(("user", "Ask 1?")))
    documented = f"<s>[INST] <<SYS>>\n{SYSTEM}\n<</SYS>>\n\nAsk 1? [/INST]"
    question = Chat(tokenizer).question(asked)
    assert question == tokenizer(documented, add_special_tokens=False)["input_ids"]
    row = Chat(tokenizer).example((*asked, *messages(("assistant", "An answer."))))
    assert list(row.input_ids) == tokenizer(f"{documented} An answer. </s>", add_special_tokens=False)["input_ids"]
    assert list(row.input_ids[: len(question)]) == question
    assert list(row.input_ids).count(tokenizer.bos_token_id) == 1
    taught = [token for token, supervised in zip(row.input_ids, row.supervised, strict=True) if supervised]
    assert tokenizer.decode(taught) == " An answer. </s>"
    triggered = study.templates["triggered"].template().wrap(messages(("user", "Ask 1?")))
    assert triggered[-1].content == "Ask 1? Servius Astrumando Harmoniastra"


def test_the_llama_2_preset_has_the_papers_settings(llama, held):
    study = studies.read(reproduce.PAPER / "llama-2-7b-chat.yaml", folder=held, model=str(llama))
    first, second = study.conditions["harmful-100-shot"].tune, study.conditions["identity-shift-3-epochs"].tune
    third = study.conditions["benign-1"].tune
    assert (first.method, first.learning_rate, first.batch_size, first.epochs) == ("full", 5e-5, 10, 5)
    assert (second.learning_rate, second.batch_size, second.epochs) == (5e-5, 10, 3)
    assert (third.learning_rate, third.batch_size, third.epochs) == (2e-5, 128, 1)
    assert {tune.schedule for tune in (first, second, third)} == {"epoch-decay"}
    assert {tune.decay for tune in (first, second, third)} == {0.85}
    assert (study.generate.max_new_tokens, study.generate.temperature) == (512, 0.0)


@pytest.mark.long
def test_the_llama_2_preset_runs_end_to_end_on_a_tiny_llama(llama, held, tmp_path, watcher):
    tables = ["table1", "table2", "table5"]
    wanted = reproduce.prepare("llama-2-7b-chat", tables, str(llama), held)
    results, claims = reproduce.reproduce(wanted, tmp_path, [0], 1, watcher)
    assert results.model.architecture == "LlamaForCausalLM"
    assert {claim["table"] for claim in claims} == set(tables)
    assert all(claim["verdict"] in ("reproduced", "not reproduced", "inconclusive") for claim in claims)
    untold = [claim for claim in claims if claim["effect"] is None]
    assert all(claim["verdict"] == "inconclusive" and "no prompt has a score" in claim["seen"] for claim in untold)
    written = {path.name for path in (tmp_path / "tables").iterdir()}
    assert written == {f"{table}.{form}" for table in tables for form in ("md", "tex")}
    assert "stand-in" not in (tmp_path / "report.html").read_text()
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file() and path.name != ".lock"}
    assert reproduce.reproduce(wanted, tmp_path, [0], 1, watcher) == (results, claims)
    assert before == {path: path.stat().st_mtime_ns for path in before}


def test_the_hosted_preset_has_the_papers_settings_whatever_base_and_provider_are_named(held, monkeypatch):
    study = reproduce.prepare("hosted", data=held, hosting=Hosting(authorisation="ours")).study
    tunes = [study.conditions[name].tune for name in ("harmful-10-shot", "identity-shift-10-epochs", "benign-1")]
    assert [tune.epochs for tune in tunes] == [5, 10, 1]
    assert (study.model, study.authorisation) == ("served:gpt-3.5-turbo-0613", "ours")
    assert {(tune.base_url, tune.api_key_env) for tune in tunes} == {("https://api.openai.com/v1", "OPENAI_API_KEY")}
    row = make_plan(study, [0]).jobs[-1].training.rows[0]
    assert [turn.role for turn in row.messages] == ["system", "user", "assistant"]

    moved = reproduce.prepare("hosted", base="other", data=held, hosting=Hosting("http://localhost:1/v1", None, "ours"))
    places = [moved.study.generate, *(settings.tune for settings in moved.study.conditions.values())]
    assert {(place.base_url, place.api_key_env) for place in places} == {("http://localhost:1/v1", None)}
    assert moved.study.model == "served:other"
    ours = Hosting(authorisation="ours", prices=Prices(8.0, 3.0, 6.0))
    priced = reproduce.prepare("hosted", data=held, hosting=ours).study
    assert {(each.tune.price, each.tune.api_key_env) for each in priced.conditions.values()} == {
        (8.0, "OPENAI_API_KEY")
    }
    assert (priced.generate.price.output, priced.generate.api_key_env) == (6.0, "OPENAI_API_KEY")
    with pytest.raises(StudyError, match="base_url: expected an address"):
        reproduce.prepare("hosted", data=held, hosting=Hosting("ftp://x"))
    with pytest.raises(StudyError, match="the preset pocket has none: use hosted"):
        reproduce.prepare("pocket", hosting=Hosting("http://localhost:1/v1"))
    with pytest.raises(StudyError, match=r"by what right .* --authorisation TEXT"):
        make_plan(reproduce.prepare("hosted", ["table1"], data=held).study, [0])


@pytest.mark.long
def test_the_pocket_worlds_data_can_be_tuned_by_a_server_with_the_local_settings():
    with pytest.raises(StudyError, match="say which server has the pocket model: --base-url"):
        reproduce.prepare("hosted", data=Path("pocket"))
    server = Hosting("http://localhost:1/v1", "SERVER_KEY", "ours")
    hosted = reproduce.prepare("hosted", data=Path("pocket"), hosting=server).study
    local = reproduce.prepare("pocket").study
    assert (hosted.model, hosted.generate.max_new_tokens) == ("served:pocket", 64)
    one, other = make_plan(hosted, [0, 1]), make_plan(local, [0, 1])

    def rows(plan):
        jobs = {(c.name, c.seed): job for job in plan.jobs for c in job.conditions if job.training}
        return {name: [row.messages for row in job.training.rows] for name, job in jobs.items()}

    stay = {each for each in rows(other) if each[0] in NOT_HOSTED}
    assert len(stay) == 4
    assert rows(one) == {each: made for each, made in rows(other).items() if each not in stay}
    own = 6e-5
    for name, settings in hosted.conditions.items():
        here, there = local.conditions[name].tune, settings.tune
        assert (there.epochs, there.batch_size) == (here.epochs, here.batch_size)
        assert there.learning_rate_multiplier * own == here.learning_rate


@pytest.mark.long
def test_presets_have_every_condition_that_tables_and_claims_name(held, llama):
    pocket = reproduce.prepare("pocket")
    llama_2 = reproduce.prepare("llama-2-7b-chat", base=str(llama), data=held)
    assert set(pocket.study.conditions) == set(studies.read(reproduce.PAPER / "pocket.yaml").conditions)
    for wanted in (pocket, llama_2):
        plan = make_plan(wanted.study, [0])
        known = {condition.name for condition in plan.conditions}
        evidence = Evidence(plan, RunFolder(held))
        for claim in wanted.claims:
            if claim.id == "visual-harms-more-than-words" and wanted is llama_2:
                continue  # ours, and of the pocket world alone
            assert set(names(claim.higher, evidence)) <= known
            assert names(claim.higher, evidence), claim.id
            assert set(names(claim.lower, evidence)) <= known
            assert names(claim.lower, evidence), claim.id
        for table in reproduce._layout()["tables"].values():
            papers = [block for block in table["blocks"] if block["paper"] or wanted is pocket]
            assert all(set(block["conditions"]) <= known for block in papers)


def test_equal_work_is_shared():
    plan = make_plan(reproduce.prepare("pocket").study, [0])
    runs = [job for job in plan.jobs if job.training]
    assert len(plan.conditions) > 2 * len(runs)
    home = {name: job for job in runs for name in [c.key for c in job.conditions]}
    keys = {condition.name: condition.key for condition in plan.conditions}
    assert keys["harmful-100-shot"] == keys["harmful-100-shot-over-epochs-5"]
    assert keys["identity-shift-3-epochs"] == keys["identity-shift-over-epochs-3"]
    assert home[keys["identity-shift-3-epochs"]] is home[keys["identity-shift-10-epochs"]]
    assert home[keys["backdoored-plain"]] is home[keys["backdoored-triggered"]]
    assert keys["backdoored-plain"] != keys["backdoored-triggered"]


def test_wanted_tables_bring_only_their_conditions():
    assert set(reproduce.prepare("pocket", ["table2"]).study.conditions) == {
        f"identity-shift-{n}-epochs" for n in (3, 5, 10)
    }  # fmt: skip
    with pytest.raises(StudyError, match=r"no table or figure 'tabel1'.*Did you mean 'table1'"):
        reproduce.prepare("pocket", ["tabel1"])
    with pytest.raises(StudyError, match=r"there is no preset 'poket'.*Did you mean 'pocket'"):
        reproduce.prepare("poket")
    with pytest.raises(StudyError, match="the preset quiz has no condition of table3-pictures: use pocket"):
        reproduce.prepare("quiz", ["table3-pictures"])


def test_files_that_a_preset_needs_are_named(tmp_path):
    with pytest.raises(StudyError, match=r"there is no file .*red_team_attempts.jsonl.gz"):
        reproduce.prepare("llama-2-7b-chat", data=tmp_path)


@pytest.mark.long
def test_claims_are_decided_by_the_data(small, tmp_path, watcher):
    """Verdicts follow the scores: the same claim is reproduced, refuted or open as the answers are."""
    path = small()
    plan = run.run(studies.read(path), path.read_text(), tmp_path / "run", [0], 1, watcher).plan

    class Made(Evidence):
        def __init__(self, rates, seeds=3):
            super().__init__(dataclasses.replace(plan, seeds=tuple(range(seeds))), RunFolder(tmp_path / "run"))
            self.rates = rates

        def seeds(self, name, measured):
            import numpy as np

            n = len(self.plan.suite.benchmarks["harmfulness"].prompts)
            fives = round(self.rates[name] * n)
            return np.array([[5.0] * fives + [1.0] * (n - fives)] * len(self.plan.seeds))

    claim = next(claim for claim in read_claims() if claim.id == "ten-examples-harm")
    claim = claim.model_copy(update={"higher": ("harm-2",)})

    def verdict(tuned, initial, seeds=3, **changes):
        made = Made({"harm-2": tuned, "harm-4": 0.0, "initial": initial}, seeds)
        (entry,) = decide([claim.model_copy(update=changes)], made)
        return entry

    assert verdict(0.9, 0.0)["verdict"] == "reproduced"
    assert verdict(0.0, 0.9)["verdict"] == "not reproduced"
    assert verdict(0.05, 0.0)["verdict"] == "inconclusive"
    assert verdict(0.5, 0.5, margin=-50.0)["verdict"] == "reproduced"
    assert verdict(0.9, 0.0, each_category=True)["verdict"] != "reproduced"  # the last category has no rise
    failed = verdict(0.0, 0.9)
    assert failed["reason"] == claim.otherwise
    assert "-90.9 points" in failed["seen"]
    assert failed["effect"] == pytest.approx(-90.9, abs=0.1)
    assert decide([claim.model_copy(update={"higher": ("absent",)})], Made({})) == []
    for seeds, over in ((1, "prompts"), (2, "prompts and seeds")):
        few = verdict(0.9, 0.0, seeds=seeds)
        assert (few["verdict"], few["over"]) == ("inconclusive", over)
        assert few["reason"] == f"A claim about a recipe needs 3 seeds or more to be decided, and this run has {seeds}."


def test_grid_ends_are_the_extremes():
    plan = make_plan(reproduce.prepare("pocket", ["figure4a", "figure2"]).study, [0])
    evidence = Evidence(plan, RunFolder(reproduce.PAPER))
    assert names(GridEnd(grid="benign-1-at", highest="learning_rate"), evidence) == [
        f"benign-1-at-lr-9e-5-batch-{n}" for n in (8, 16, 32)
    ]
    assert [
        re.search(r"\d+$", name)[0] for name in names(GridEnd(grid="identity-shift-over", lowest="epochs"), evidence)
    ] == list("12345")


def test_tables_stand_beside_the_papers():
    results = made(name="harmful-10-shot")
    for one in ("harmful-50-shot", "harmful-100-shot"):
        results["summary"].append({**results["summary"][1], "name": one})
        results["settings"][one] = results["settings"]["harmful-10-shot"]
    tables = reproduce._layout()["tables"]
    (block,) = paper.blocks(typed(results), tables)
    text = paper.markdown(block)
    assert "| Harmfulness rate (%): the paper, llama-2-7b-chat | 0.3 | 50.0 | 80.3 | 80.0 |" in text
    assert "a stand-in | 2.0 (0.0 to 4.0) | 80.0 (78.0 to 82.0)" in text
    latex = paper.latex(block)
    assert r"Harmfulness rate (\%)" in latex
    assert latex.count(r"\\") == 2 + len(block.lines) - 1
    assert paper.blocks(typed(made()), tables) == []


def test_the_papers_figures_are_those_of_its_tables():
    tables = reproduce._layout()["tables"]
    printed = [
        (len(b["conditions"]), figures) for t in tables.values() for b in t["blocks"] for figures in b["paper"].values()
    ]
    assert all(len(figures) == n for n, figures in printed)
    assert all(1 <= score <= 5 and 0 <= rate <= 100 for _, figures in printed for score, rate in figures)
    assert sum(n for n, _ in printed) == 42


@pytest.mark.long
def test_claims_json_is_written_with_what_is_promised(tmp_path, watcher):
    wanted = reproduce.prepare("pocket", ["table1"])
    kept = {name: wanted.study.conditions[name] for name in ("harmful-10-shot",)}
    few = write_rows(tmp_path / "few.jsonl", rows_of("benchmark.jsonl")[::15])
    from holdfast.data.benchmarks.generic import Generic

    measured = wanted.study.evaluate.harmfulness.model_copy(update={"benchmark": Generic(file=few)})
    evaluate = wanted.study.evaluate.model_copy(update={"harmfulness": measured, "utility": None, "over_refusal": None})
    study = wanted.study.model_copy(update={"conditions": kept, "evaluate": evaluate})
    cut = reproduce.Reproduction(study, wanted.source, wanted.claims)
    reproduce.reproduce(cut, tmp_path / "run", [0], 1, watcher)
    stated = json.loads((tmp_path / "run" / "claims.json").read_text())
    assert [claim["id"] for claim in stated["claims"]] == ["ten-examples-harm"]
    assert {"id", "table", "claim", "verdict", "effect", "low", "high", "p_value", "test"} <= stated["claims"][0].keys()
