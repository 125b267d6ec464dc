"""The command `list`."""

from __future__ import annotations

from holdfast.cli.options import console


def list_everything() -> None:
    """List benchmarks, judges, data sources, defences, back ends and shipped studies."""
    from rich.table import Table
    from rich.text import Text

    from holdfast.audit.public import PUBLIC
    from holdfast.core.config import summary
    from holdfast.data.benchmarks import BENCHMARKS
    from holdfast.data.training import SOURCES
    from holdfast.judges import JUDGES
    from holdfast.models.generate import GENERATORS
    from holdfast.models.samplers import SAMPLERS
    from holdfast.study.loader import shipped_studies, title
    from holdfast.tuning import TUNERS
    from holdfast.tuning.defences import DEFENCES

    registries = {
        "Benchmarks": BENCHMARKS, "Judges": JUDGES, "Ways to ask a judge's model": SAMPLERS,
        "Data sources": SOURCES, "Defences": DEFENCES, "Where models are tuned": TUNERS,
        "Where answers are generated": GENERATORS,
    }  # fmt: skip
    table = Table(box=None, show_header=False, padding=(0, 2))
    for heading, registry in registries.items():
        table.add_row(Text(heading, "bold"))
        for name, reference in registry.items():
            table.add_row(f"  {name}", summary(reference))
    table.add_row(Text("Brought from the Hub by `audit`", "bold"))
    for name, public in PUBLIC.items():
        gated = "; gated: ask for access first" if public.gated else ""
        measures = public.measures.replace("_", "-")
        table.add_row(f"  {name}", f"{measures}; {public.repo}, {public.license}{gated}")
    table.add_row(Text("Studies", "bold"))
    for path in shipped_studies():
        table.add_row(f"  {path.stem}", title(path))
    console().print(table)
