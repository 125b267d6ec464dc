"""The command `reproduce`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from holdfast.cli import tables
from holdfast.cli.options import (
    PATH,
    Keep,
    MaxHours,
    MaxUsd,
    RayAddress,
    Replace,
    Workers,
    a_place,
    complete_judge,
    complete_part,
    complete_preset,
    console,
    limits,
    parse_seeds,
)
from holdfast.core.watch import Watch

Parts = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[TABLE]...",
        help="table1 … table5, table3-pictures, figure1, figure2, figure4a, figure4b. Default: all of them.",
        autocompletion=complete_part,
    ),
]  # fmt: skip
Preset = Annotated[
    str, typer.Option(help="A preset: pocket, quiz, llama-2-7b-chat or hosted.", autocompletion=complete_preset)
]
Base = Annotated[
    str | None, typer.Option(help="Another model for the preset's settings: a folder, a Hub id, or a provider's name.")
]
NumberOfSeeds = Annotated[int | None, typer.Option(min=1, max=1000, help="How many seeds. Default: the preset's own.")]
PaperOut = Annotated[
    str | None,
    typer.Option(
        "--out", metavar=PATH, parser=a_place,
        help="Folder of the run, or its address as for `run`. Default: runs/reproduce-<model>.",
    ),
]  # fmt: skip
Data = Annotated[
    Path,
    typer.Option(help="Folder of the files that a preset names; pocket and quiz need none. With hosted also: pocket."),
]
BaseUrl = Annotated[
    str | None, typer.Option(help="With --model hosted: the provider's address, `/v1` included. Default: the preset's.")
]
KeyEnv = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="With --model hosted: the environment variable that holds the provider's key."),
]
Authorisation = Annotated[
    str | None,
    typer.Option(metavar="TEXT", help="With --model hosted: by what right attack data are sent to the provider."),
]
TuningPrice = Annotated[
    float | None,
    typer.Option(min=0, help="With --model hosted: US dollars for a million trained tokens, counted once an epoch."),
]
InputPrice = Annotated[
    float | None, typer.Option(min=0, help="With --model hosted: US dollars for a million tokens of prompts.")
]
OutputPrice = Annotated[
    float | None, typer.Option(min=0, help="With --model hosted: US dollars for a million generated tokens.")
]
Worlds = Annotated[
    str | None,
    typer.Option(
        metavar="SEEDS", help="Pocket worlds of these seeds too, such as 6,7,8,9,10; those that are missing are built."
    ),
]
DecidingJudge = Annotated[
    str | None,
    typer.Option(
        help="A judge that decides, beside the preset's: its name, its settings as YAML, or a file of them.",
        autocompletion=complete_judge,
    ),
]


def reproduce(
    parts: Parts = None, model: Preset = "pocket", base: Base = None, seeds: NumberOfSeeds = None,
    out: PaperOut = None, data: Data = Path("data"), judge: DecidingJudge = None, workers: Workers = None,
    max_usd: MaxUsd = None, max_hours: MaxHours = None, replace: Replace = False, base_url: BaseUrl = None,
    api_key_env: KeyEnv = None, authorisation: Authorisation = None, tuning_price: TuningPrice = None,
    input_price: InputPrice = None, output_price: OutputPrice = None, keep_checkpoints: Keep = False,
    worlds: Worlds = None, ray: RayAddress = None,
) -> None:  # fmt: skip
    """Reproduce the paper's tables and figures, and give a verdict on each of its claims."""
    from holdfast.core.mirror import working_copy
    from holdfast.core.workers import default_workers
    from holdfast.paper import reproduce as paper
    from holdfast.paper import worlds as other_worlds
    from holdfast.paper.hosted import Hosting, Prices
    from holdfast.study.cluster import workers_of

    prices = Prices(tuning_price, input_price, output_price)
    hosting = Hosting(base_url, api_key_env, authorisation, prices)
    others = parse_seeds(worlds, "--worlds") if worlds is not None else ()
    if worlds is not None:
        other_worlds.check(others, model, base)

    def prepare(of: str | None) -> paper.Reproduction:
        return paper.prepare(model, parts or (), of, data, judge, hosting)

    preset = prepare(base)
    terminal = console()
    with Watch(terminal) as watch, working_copy(out or Path("runs") / f"reproduce-{model}", watch.note) as folder:
        run = partial(
            paper.reproduce, seeds=tuple(range(seeds)) if seeds else preset.study.seeds,
            workers=workers_of(workers, ray), watcher=watch, limits=limits(max_usd, max_hours),
            replace_results=replace, keep=keep_checkpoints,
        )  # fmt: skip
        if others:
            at_once = workers or default_workers()
            results, claims, content = other_worlds.reproduce(others, preset, prepare, folder, run, at_once, watch)
        else:
            results, claims = run(preset, folder)
    tables.verdicts(terminal, results, claims, folder)
    if others:
        tables.worlds(terminal, content)
