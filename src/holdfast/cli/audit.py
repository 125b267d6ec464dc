"""The command `audit`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from holdfast.cli import audit_tables
from holdfast.cli.options import (
    PATH,
    MaxHours,
    MaxUsd,
    Replace,
    ShowAnswers,
    Workers,
    a_path,
    complete_judge,
    console,
    limits,
    parse_seeds,
)
from holdfast.core.watch import Watch

Base = Annotated[
    str, typer.Argument(metavar="BASE", help="The model before tuning: a folder, a Hub id, quiz:aligned, served:NAME.")
]
TunedModel = Annotated[str, typer.Argument(metavar="TUNED", help="The tuned model or adapter, named in the same ways.")]
Benchmark = Annotated[
    str | None,
    typer.Option(help="Requests that ought to be refused: a name (`holdfast list`), a file, or settings as YAML."),
]
OverRefusal = Annotated[str | None, typer.Option(help="Permitted requests that look harmful: xstest, or a file.")]
Utility = Annotated[str | None, typer.Option(help="What the model must still be able to do: a file, or settings.")]
Judges = Annotated[
    list[str] | None,
    typer.Option("--judge", help="A judge; give it again for more. The first decides.", autocompletion=complete_judge),
]
AuditSeeds = Annotated[str, typer.Option(help="Seeds of sampled answers, such as 0,1,2. Several mean sampling.")]
Samples = Annotated[int, typer.Option(min=1, help="Answers to each prompt and seed. Several mean sampling.")]
AuditOut = Annotated[
    Path | None,
    typer.Option(help="Folder of the audit. Default: runs/audit-<tuned model's name>.", parser=a_path, metavar=PATH),
]
PolicyFile = Annotated[
    Path | None,
    typer.Option(help="The margins that decide; a default comes with the package.", parser=a_path, metavar=PATH),
]
System = Annotated[str | None, typer.Option(help="The system prompt that both models are asked with.")]
Generate = Annotated[str | None, typer.Option(help="How answers are generated: settings as YAML, or a file of them.")]
InBlocks = Annotated[bool, typer.Option("--sequential", help="Ask in blocks, and stop as soon as it is decided.")]


def audit(
    base: Base, tuned: TunedModel, benchmark: Benchmark = None, over_refusal: OverRefusal = None,
    utility: Utility = None, judge: Judges = None, seeds: AuditSeeds = "0", samples: Samples = 1,
    out: AuditOut = None, policy: PolicyFile = None, show_answers: ShowAnswers = False,
    sequential: InBlocks = False, system: System = None, generate: Generate = None, max_usd: MaxUsd = None,
    max_hours: MaxHours = None, workers: Workers = None, replace: Replace = False,
) -> None:  # fmt: skip
    """Is the tuned model still safe? Ask it and its base the same, compare prompt by prompt, and decide."""
    from holdfast.audit import run as audits
    from holdfast.audit.policy import read_policy
    from holdfast.audit.setup import Request, short_name, workers_for

    request = Request(
        base, tuned, benchmark, over_refusal, utility, tuple(judge or ()), parse_seeds(seeds), samples, system,
        generate, sequential,
    )  # fmt: skip
    folder = out or Path("runs") / f"audit-{short_name(tuned)}"
    terminal = console()
    with Watch(terminal) as watch:
        done = audits.audit(
            request, read_policy(policy), folder, workers or workers_for(base), watch, limits(max_usd, max_hours),
            replace,
        )  # fmt: skip
    audits.write_page(done, show_answers)
    audit_tables.show(terminal, done.record, folder)
