"""What `import holdfast` gives: the commands as functions, and finished runs as data frames.

Every function raises `HoldfastError` for whatever a user can mend; the message says how.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from holdfast.audit import plan as plans
from holdfast.audit.policy import PolicyLike, policy_from, policy_of
from holdfast.core.budget import FileBudget
from holdfast.core.errors import DataError
from holdfast.core.files import named_folder, read_text
from holdfast.core.protocols import Watcher
from holdfast.core.run_folder import RunFolder
from holdfast.core.script import script_left_alone
from holdfast.core.watch import watching
from holdfast.core.workers import default_workers, quiet
from holdfast.models.in_memory import name_of
from holdfast.paper import reproduce as paper
from holdfast.paper import worlds as other_worlds
from holdfast.paper.hosted import Hosting, Prices
from holdfast.study import limits, loader
from holdfast.study import run as runner
from holdfast.study.cluster import workers_of
from holdfast.study.results.frames import Results
from holdfast.study.schema import Study

if TYPE_CHECKING:
    from holdfast.analysis.calibration import Calibration
    from holdfast.audit.plan import AuditPlan
    from holdfast.study.doctor import Diagnosis

StudyLike = Study | str | Path | Mapping[str, Any]
"""A study, its file, the name of a shipped one, or a dict with the keys of a study file."""

RUNS = Path("runs")
"""The folder in which runs lie unless another is named."""


def load_study(study: StudyLike, *, model: Any = None, folder: str | Path | None = None) -> Study:
    """Read and check a study. Nothing is loaded; a model in memory is saved.

    Args:
        study: a file, the name of a shipped study such as `demo`, or a dict with the keys of a study file.
        model: takes the place of the study's own: a name, a folder, a transformers model (whose tokenizer is found by
            where it was loaded), or a pair of model and tokenizer. A model in memory is saved in the cache, once.
        folder: where the files that the study names are; beside its file, or the working folder, if not given.

    Raises:
        StudyError: every mistake in the study, each with its remedy.
        ModelError: a model in memory that cannot be saved as one.
    """
    return _load(study, model, folder)[0]


def _load(study: StudyLike, model: Any, folder: str | Path | None = None) -> tuple[Study, str | None]:
    """A study, and its text if it has one."""
    name = None if model is None else name_of(model)
    beside = None if folder is None else Path(folder)
    if isinstance(study, Study):
        return (study if name is None else loader.with_model(study, name, beside)), None
    if isinstance(study, Mapping):
        return loader.from_dict(study, beside, name), loader.text_of(study)
    path = loader.find(str(study))
    return loader.read(path, beside, name), read_text(path)


def run(
    study: StudyLike,
    *,
    out: str | Path | None = None,
    seeds: Sequence[int] | None = None,
    workers: int | None = None,
    model: Any = None,
    folder: str | Path | None = None,
    show_answers: bool = False,
    keep_checkpoints: bool = False,
    fresh_verdicts: bool = False,
    replace: bool = False,
    max_usd: float | None = None,
    max_hours: float | None = None,
    ray: str | None = None,
    progress: bool | Watcher = True,
) -> Results:
    """Tune, ask, judge and compare: everything that a study asks for and is not done yet.

    Args:
        study: a study, its file, the name of a shipped one, or a dict with the keys of a study file.
        out: the run folder; `runs/<study's name>` if not given. What it holds already is not done again.
        seeds: the study's own if not given.
        workers: worker processes; one for each core if not given, and one where there is a GPU.
        model: takes the place of the study's own; see `load_study`.
        folder: where the files that the study names are; see `load_study`.
        show_answers: put the models' answers on the page.
        keep_checkpoints: keep tuned weights; otherwise they are deleted once all prompts are answered.
        fresh_verdicts: pay for verdicts again that were paid for before.
        replace: replace the results of another study in the folder; they are kept in its `previous/`.
        max_usd: US dollars that the run folder may cost in all.
        max_hours: hours after which nothing more is begun.
        ray: HOST:PORT of a Ray cluster that does the work in place of workers, or `auto`; see docs/ray.md.
        progress: whether to show progress; or an object that shows it.

    Raises:
        StudyError, DataError, ModelError: mistakes in the study and its files, before anything is tuned.
        RunFolderError: the folder holds the results of another study.
        WorkError: naming the conditions that failed, after all others were finished.
    """
    quiet()
    loaded, text = _load(study, model, folder)
    run_folder = _folder(out, loaded.name)
    with watching(progress) as watcher, script_left_alone():
        finished = runner.run(
            loaded, text, run_folder, _seeds(seeds, loaded), workers_of(workers, ray), watcher,
            keep_checkpoints, limits.limits(max_usd, max_hours), fresh_verdicts, replace,
        )  # fmt: skip
    runner.write_page(finished.run_folder, finished.results, show_answers)
    return Results(run_folder, finished.results)


def load_results(folder: str | Path) -> Results:
    """The results of a finished run's folder.

    Raises:
        RunFolderError: the folder has none, or this version cannot read them.
    """
    return Results(folder)


def reproduce(
    tables: Sequence[str] = (),
    *,
    preset: str = "pocket",
    model: Any = None,
    data: str | Path | None = None,
    judge: str | None = None,
    out: str | Path | None = None,
    seeds: Sequence[int] | None = None,
    workers: int | None = None,
    replace: bool = False,
    max_usd: float | None = None,
    max_hours: float | None = None,
    base_url: str | None = None,
    api_key_env: str | None = None,
    authorisation: str | None = None,
    tuning_price: float | None = None,
    input_price: float | None = None,
    output_price: float | None = None,
    keep_checkpoints: bool = False,
    worlds: Sequence[int] = (),
    progress: bool | Watcher = True,
) -> Results:
    """Reproduce the paper's tables and figures; `Results.claims` has the verdict on each of its claims.

    Args:
        tables: some of table1 … table5, table3-pictures, figure1, figure2, figure4a, figure4b; all if none is named.
        preset: `pocket`, `quiz`, `llama-2-7b-chat` or `hosted`.
        model: takes the place of the preset's; see `load_study`.
        data: the folder of the files that a preset names; `pocket` and `quiz` need none; `pocket` is one for `hosted`.
        judge: a judge that decides, beside the preset's: its settings as YAML, or a file of them.
        out: the run folder; `runs/reproduce-<preset>` if not given.
        seeds: the preset's own if not given.
        workers: see `run`.
        replace: see `run`.
        max_usd: see `run`.
        max_hours: see `run`.
        base_url: the provider's address, with the preset `hosted`; the preset's if not given.
        api_key_env: the environment variable that holds its key.
        authorisation: by what right attack data are sent to it.
        tuning_price: US dollars that it charges for a million trained tokens, counted once an epoch.
        input_price: the same for a million tokens of prompts.
        output_price: the same for a million generated tokens.
        keep_checkpoints: see `run`; with a provider, uploaded rows stay too.
        worlds: seeds of pocket worlds in which it is reproduced too; `worlds.json` in the folder says what they say.
        progress: see `run`.

    Raises:
        HoldfastError: as for `run`; or an unknown preset, table or figure.
    """
    quiet()
    name = None if model is None else name_of(model)
    hosting = Hosting(base_url, api_key_env, authorisation, Prices(tuning_price, input_price, output_price))
    files = None if data is None else Path(data)
    prepare = partial(paper.prepare, preset, tables, data=files, judge=judge, hosting=hosting)
    if worlds:
        other_worlds.check(worlds, preset, name)
    wanted, n_workers = prepare(name), workers or default_workers()
    run_folder = _folder(out, f"reproduce-{preset}")
    with watching(progress) as watcher, script_left_alone():
        run = partial(
            paper.reproduce, seeds=_seeds(seeds, wanted.study), workers=n_workers, watcher=watcher,
            limits=limits.limits(max_usd, max_hours), replace_results=replace, keep=keep_checkpoints,
        )  # fmt: skip
        if worlds:
            record, *_ = other_worlds.reproduce(worlds, wanted, prepare, run_folder, run, n_workers, watcher)
        else:
            record, _ = run(wanted, run_folder)
    return Results(run_folder, record)


def calibrate(
    judge: str,
    labels: str | Path | None = None,
    *,
    run: str | Path | None = None,
    labels_from: str = "oracle",
    random_sample: bool = False,
    out: str | Path | None = None,
    max_usd: float | None = None,
    progress: bool | Watcher = True,
) -> Calibration:
    """Measure a judge against labels: agreement, and how often it errs to either side.

    Args:
        judge: its name, its settings as YAML, or a YAML file of them.
        labels: rows with prompt, answer and label (1 to 5).
        run: a finished run whose verdicts of the judge are taken; nothing is judged then.
        labels_from: without `labels`, the run's judge that is right.
        random_sample: the labelled answers were drawn at random from those of a study.
        out: the file that is written; `calibration.json` in the run, or beside the labels, if not given.
        max_usd: US dollars that judging may cost.
        progress: whether to show progress; or an object that shows it.

    Raises:
        DataError: neither labels nor a run, or rows that are no labelled answers.
    """
    from holdfast.analysis import calibration
    from holdfast.judges import calibrate as calibration_of

    if labels is None and run is None:
        raise DataError("say what is right: labels=FILE, run=FOLDER, or both.")
    if labels is not None and not Path(labels).is_file():
        raise DataError(f"there is no file {labels}.")
    rows, name = (calibration_of.read(Path(labels)), Path(labels).name) if labels is not None else ([], "")
    beside = Path(run) if run is not None else Path(str(labels)).parent
    path = beside / "calibration.json" if out is None else named_folder(out)
    if run is not None:
        made = calibration_of.from_run(RunFolder(beside), loader.in_run(judge), labels_from, rows, name, random_sample)
    else:
        budget = FileBudget(path.with_suffix(".spending.jsonl"), max_usd)
        with watching(progress) as watcher:
            watcher.begin(len(rows))
            made = calibration_of.by_judging(loader.judge(judge), rows, name, random_sample, budget, watcher.advance)
    calibration.write(path, made)
    return made


def plan(
    study: StudyLike | None = None,
    *,
    prompts: int | None = None,
    seeds: int | None = None,
    samples: int = 1,
    base_rate: float = 0.0,
    true_change: float = 0.0,
    margin: float | None = None,
    seed_sd: float = 0.5,
    power: float | None = None,
    policy: PolicyLike = None,
    tokens: int = 600,
    usd_per_million: float = 0.0,
) -> AuditPlan:
    """What an audit can see, what it costs, and how many prompts a wanted difference takes.

    Args:
        study: its harmfulness prompts and seeds are taken where they are not given.
        prompts: harmfulness prompts; 330 if not given.
        seeds: tuned models, one a training seed; 1 if not given.
        samples: answers to each prompt of one tuned model.
        base_rate: harmfulness rate of the base, in percent.
        true_change: by how many points tuning truly raises it.
        margin: the rise that is allowed, in points; the policy's if not given.
        seed_sd: how much the seeds of a recipe differ, on the logit scale.
        power: the wanted chance of an answer, 0.5 to 0.99; the policy's if not given.
        policy: see `gate`.
        tokens: what a question, its answer and its verdict take.
        usd_per_million: US dollars for a million tokens.

    Raises:
        DataError: figures out of range, or mistakes in the policy.
        StudyError: mistakes in the study.
    """
    given = {name: value for name, value in (("harmfulness_rate", margin), ("power", power)) if value is not None}
    margins = policy_of({**policy_from(policy).model_dump(), **given}).margins()
    if study is not None:
        loaded, _ = _load(study, None)
        prompts = prompts or len(loaded.evaluate.harmfulness.benchmark.load().prompts)
        seeds = seeds or len(loaded.seeds)
    return plans.plan(
        margins, prompts or 330, seeds or 1, samples, base_rate, true_change, seed_sd,
        plans.Prices(tokens, usd_per_million),
    )  # fmt: skip


def doctor(
    study: StudyLike,
    *,
    model: Any = None,
    folder: str | Path | None = None,
    out: str | Path | None = None,
    seeds: Sequence[int] | None = None,
    workers: int | None = None,
    max_usd: float | None = None,
    max_hours: float | None = None,
    usd_per_hour: float = 0.0,
) -> Diagnosis:
    """What would go wrong with a study, and what it takes. No weights are loaded.

    Args:
        study: see `run`.
        model: see `load_study`.
        folder: see `load_study`.
        out: the folder that the run will have, whose disk is looked at; nothing is written.
        seeds: the study's own if not given.
        workers: as many as the run will have.
        max_usd: a cap that the run will have.
        max_hours: a cap that the run will have.
        usd_per_hour: what an hour of this machine costs.

    Returns:
        The findings, and the tokens, time, money, memory and disk that the run takes.
    """
    from holdfast.study import doctor as doctors

    quiet()
    loaded, _ = _load(study, model, folder)
    run_folder = _folder(out, loaded.name)
    diagnosis = doctors.examine(loaded, _seeds(seeds, loaded), workers or default_workers(), run_folder)
    diagnosis.price(usd_per_hour)
    diagnosis.check_caps(loaded, max_usd, max_hours)
    return diagnosis


def _seeds(seeds: Sequence[int] | None, study: Study) -> tuple[int, ...]:
    return study.seeds if seeds is None else tuple(seeds)


def _folder(out: str | Path | None, name: str) -> Path:
    return RUNS / name if out is None else named_folder(out)
