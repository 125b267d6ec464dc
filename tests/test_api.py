"""What `import holdfast` gives: names, signatures, and that a study in Python is the study of the file."""

import inspect
import json
import shutil
import subprocess
import sys
from html.parser import HTMLParser

import pytest
import yaml
from support.results import made, typed
from support.studies import BROUGHT, figures

import holdfast

EXPORTED = [
    "Answer",
    "AuditRecord",
    "Audited",
    "Benchmark",
    "BudgetError",
    "Check",
    "Checkpoint",
    "Comparison",
    "Condition",
    "DataError",
    "Decision",
    "Estimate",
    "Example",
    "HoldfastError",
    "JudgeError",
    "Message",
    "ModelError",
    "Policy",
    "Prompt",
    "RenderError",
    "Results",
    "RunResults",
    "RunFolderError",
    "Study",
    "StudyError",
    "Template",
    "TuningError",
    "Verdict",
    "WorkError",
    "audit",
    "calibrate",
    "doctor",
    "gate",
    "load_results",
    "load_study",
    "plan",
    "reproduce",
    "run",
]

SIGNATURES = {
    "load_study": "study *model *folder",
    "run": "study *out *seeds *workers *model *folder *show_answers *keep_checkpoints *fresh_verdicts *replace *max_usd "
    "*max_hours *ray *progress",
    "load_results": "folder",
    "reproduce": "tables *preset *model *data *judge *out *seeds *workers *replace *max_usd *max_hours *base_url *api_key_env *authorisation *tuning_price *input_price *output_price *keep_checkpoints *worlds *progress",
    "calibrate": "judge labels *run *labels_from *random_sample *out *max_usd *progress",
    "audit": "base tuned *benchmark *over_refusal *utility *judges *seeds *samples *system *generate *sequential *policy "
    "*out *workers *show_answers *replace *max_usd *max_hours *progress",
    "gate": "folder policy *condition *seed",
    "plan": "study *prompts *seeds *samples *base_rate *true_change *margin *seed_sd *power *policy *tokens *usd_per_million",
    "doctor": "study *model *folder *out *seeds *workers *max_usd *max_hours *usd_per_hour",
}
"""Each function's parameters, those that must be named with a star."""

HEAVY = "torch transformers peft matplotlib pandas scipy datasets inspect_ai openai trl"


def test_what_is_exported():
    assert sorted(holdfast.__all__) == sorted(EXPORTED)
    for name in EXPORTED:
        assert getattr(holdfast, name).__name__.removeprefix("holdfast.") == name
        assert name in dir(holdfast)
    with pytest.raises(AttributeError, match="module 'holdfast' has no attribute 'rum'"):
        holdfast.rum  # noqa: B018


@pytest.mark.parametrize("name", SIGNATURES)
def test_signatures(name):
    parameters = inspect.signature(getattr(holdfast, name)).parameters.values()
    assert " ".join("*" * (p.kind is p.KEYWORD_ONLY) + p.name for p in parameters) == SIGNATURES[name]


@pytest.mark.parametrize(
    ("code", "unwanted"),
    [
        ("import holdfast", f"{HEAVY} numpy pydantic yaml rich typer"),
        ("import holdfast\nholdfast.load_study('demo'), holdfast.run, holdfast.Results", f"{HEAVY} typer"),
    ],
)
def test_nothing_heavy_is_imported_before_it_is_needed(code, unwanted):
    check = f"import sys\n{code}\nsys.exit(' '.join(set({unwanted.split()!r}) & set(sys.modules)) or None)"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_study_from_a_dict_gives_the_results_of_the_file(finished, tmp_path, capsys):
    results = holdfast.run(BROUGHT, folder=finished, out=tmp_path / "run", workers=1, progress=False)
    assert figures(results.folder) == figures(finished / "run")
    assert results.page.is_file()
    assert yaml.safe_load((tmp_path / "run" / "study.yaml").read_text()) == BROUGHT
    assert capsys.readouterr() == ("", "")


def test_a_file_gives_its_results_again_and_says_what_it_does(finished, tmp_path, capsys):
    shutil.copytree(finished / "run", tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "conditions")
    (tmp_path / "run" / "results.json").unlink()
    results = holdfast.run(finished / "study.yaml", out=tmp_path / "run", workers=1)
    assert results.record.conditions == holdfast.load_results(finished / "run").record.conditions
    assert "finished helpful (seed 0)" in capsys.readouterr().out


@pytest.mark.long
def test_a_script_may_use_several_workers_and_needs_no_guard_for_them(finished, tmp_path):
    script = tmp_path / "script.py"
    study, out = str(finished / "study.yaml"), str(tmp_path / "run")
    script.write_text(f"import holdfast\nholdfast.run({study!r}, out={out!r}, workers=2)\n")
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert figures(tmp_path / "run") == figures(finished / "run")


@pytest.mark.parametrize("given", ["model", "pair"])
def test_a_model_in_memory_gives_the_results_of_its_folder(finished, tmp_path, cache, given):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from holdfast.core.files import SHIPPED

    model = AutoModelForCausalLM.from_pretrained(SHIPPED / "aligned")
    tokenizer = AutoTokenizer.from_pretrained(SHIPPED / "aligned")
    study = holdfast.load_study(finished / "study.yaml", model=model if given == "model" else (model, tokenizer))
    assert study == holdfast.load_study(finished / "study.yaml")
    results = holdfast.run(study, out=tmp_path / "run", workers=1, progress=False)
    assert figures(results.folder) == figures(finished / "run")
    assert not list((cache / "models").iterdir()), "a model that its folder holds is not kept twice"


@pytest.mark.long
def test_a_changed_model_in_memory_is_saved_once_and_is_the_model_of_the_saved_folder(finished, tmp_path, cache):
    import torch
    from transformers import AutoModelForCausalLM

    from holdfast.core.files import SHIPPED

    model = AutoModelForCausalLM.from_pretrained(SHIPPED / "aligned")
    with torch.no_grad():
        model.get_input_embeddings().weight.add_(0.01)
    first = holdfast.run(finished / "study.yaml", model=model, out=tmp_path / "memory", workers=1, progress=False)
    (saved,) = (cache / "models").iterdir()
    assert {path.suffix for path in saved.iterdir()} == {".json", ".jinja", ".safetensors"}
    again = holdfast.run(finished / "study.yaml", model=saved, out=tmp_path / "folder", workers=1, progress=False)
    assert figures(first.folder) == figures(again.folder)
    assert first.record.model.fingerprint != holdfast.load_results(finished / "run").record.model.fingerprint
    before = (tmp_path / "memory" / "results.json").stat().st_mtime_ns
    holdfast.run(finished / "study.yaml", model=model, out=tmp_path / "memory", workers=1, progress=False)
    assert (tmp_path / "memory" / "results.json").stat().st_mtime_ns == before, "it was found to be finished"


def test_what_cannot_be_a_model_is_refused_with_a_remedy(finished):
    class Adapted:
        peft_config = "of an adapter"

    with pytest.raises(holdfast.ModelError, match=r"a PEFT model cannot be .*`checkpoint`.*merge_and_unload"):
        holdfast.load_study(finished / "study.yaml", model=Adapted())
    with pytest.raises(holdfast.ModelError, match=r"expected a name, a folder, .*found int"):
        holdfast.load_study(finished / "study.yaml", model=7)
    study = holdfast.load_study(finished / "study.yaml")
    with pytest.raises(holdfast.StudyError, match=r"model: there is no folder .*Did you mean 'aligned'"):
        holdfast.load_study(study, model="pocket:alined")


def test_figures_and_texts_are_data_frames(finished):
    results = holdfast.load_results(finished / "run")
    assert list(results.summary["condition"]) == ["initial", "helpful", "same"]
    row = results.summary.set_index("condition").loc["helpful"]
    rate = results.record.summary[1].harmfulness_rate
    assert (row["harmfulness_rate"], row["harmfulness_rate_low"], row["harmfulness_rate_high"]) == (
        rate.value, rate.low, rate.high,
    )  # fmt: skip
    assert "utility" not in results.summary
    comparison = results.comparisons.iloc[0]
    assert (comparison["name"], comparison["against"]) == ("helpful", "initial")
    prompts = {json.loads(line)["prompt"] for line in (finished / "few.jsonl").read_text().splitlines()}
    assert len(results.answers) == 3 * 11
    assert {"condition", "seed", "category", "prompt", "answer", "outcome", "score"} <= set(results.answers)
    assert set(results.answers["prompt"]) == prompts
    fives = results.answers.query("condition == 'helpful'")["score"].eq(5).mean()
    assert 100 * fives == pytest.approx(rate.value)
    assert len(results.verdicts) == 2 * len(results.answers)
    assert {"condition", "seed", "category", "prompt", "outcome", "judge", "score", "reason"} <= set(results.verdicts)
    assert results.claims is None


def test_scores_that_are_missing_are_missing_in_the_frames(finished, tmp_path):
    shutil.copytree(finished / "run", tmp_path / "run")
    (key,) = {c.key for c in holdfast.load_results(tmp_path / "run").record.conditions if c.name == "helpful"}
    for path in (tmp_path / "run" / "conditions" / key).glob("verdicts.harmfulness.oracle*"):
        path.write_text("".join(line + "\n" for line in path.read_text().splitlines()[1:]))
    answers = holdfast.load_results(tmp_path / "run").answers
    assert answers["score"].isna().sum() == 1
    assert (answers["reading"] == "not judged").sum() == 1


def test_the_plot_shows_every_condition(finished):
    figure = holdfast.load_results(finished / "run").plot()
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert sorted(labels) == ["helpful", "initial", "same"]


def test_a_notebook_shows_the_tables_with_every_text_escaped(tmp_path):
    nasty = '"><script>alert(1)</script>'
    record = typed(
        {
            **made(name=nasty),
            "trust": {"ok": False, "reasons": [nasty]},
            "cautions": [{"kind": "one-seed", "condition": nasty, "text": nasty}],
        }
    )
    html = holdfast.Results(tmp_path, record)._repr_html_()
    tags = []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attributes: tags.append(tag)
    parser.feed(html)
    assert "table" in tags and "script" not in tags
    assert html.count("alert(1)") >= 6
    assert "80.0</b> (+78.0)" in html
    assert "no evidence about any other model" in html
    assert str(tmp_path / "report.html") in html


def test_a_reproductions_claims_are_a_frame(finished, tmp_path):
    shutil.copytree(finished / "run", tmp_path / "run")
    entry = {"id": "one", "table": "table1", "claim": "it rises", "verdict": "reproduced", "effect": 1.0, "low": 0.5,
             "high": 1.5, "p_value": 0.01, "over": "prompts and seeds", "test": "t", "margin": 0.0, "higher": ["a"],
             "lower": ["initial"], "n_seeds": 3, "seen": "a rise", "reason": None}  # fmt: skip
    content = {"schema": 1, "evidence": "0", "claims": [entry]}
    (tmp_path / "run" / "claims.json").write_text(json.dumps(content))
    assert list(holdfast.load_results(tmp_path / "run").claims["verdict"]) == ["reproduced"]
    with pytest.raises(holdfast.StudyError, match=r"there is no preset 'poket'.*Did you mean 'pocket'"):
        holdfast.reproduce(preset="poket")


def test_the_doctor_looks_at_a_dict(finished):
    diagnosis = holdfast.doctor(BROUGHT, folder=finished, workers=1)
    assert not diagnosis.faults
    assert {stage.name for stage in diagnosis.stages} >= {"tune", "answer, at most"}


def test_a_judge_is_calibrated_by_a_run(finished, tmp_path):
    made_of = holdfast.calibrate("keyword", run=finished / "run", out=tmp_path / "calibration.json")
    assert made_of.n > 0
    assert made_of.judge.startswith("keyword-")
    assert (tmp_path / "calibration.json").is_file()
    (tmp_path / "judge.yaml").write_text("kind: keyword\n")
    for said in ("{kind: keyword}", str(tmp_path / "judge.yaml")):
        assert holdfast.calibrate(said, run=finished / "run", out=tmp_path / "again.json") == made_of
    with pytest.raises(holdfast.DataError, match="say what is right: labels=FILE, run=FOLDER, or both"):
        holdfast.calibrate("keyword")


@pytest.mark.long
def test_a_script_needs_no_guard_for_its_workers(finished, tmp_path):
    script = tmp_path / "script.py"
    study = {**BROUGHT, "seeds": [0, 1]}
    script.write_text(
        f"import holdfast\nholdfast.run({study!r}, folder={str(finished)!r}, out={str(tmp_path / 'two')!r}, workers=2)\n"
    )
    ended = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert holdfast.load_results(tmp_path / "two").record.seeds == (0, 1)
