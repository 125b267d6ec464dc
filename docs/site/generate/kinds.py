"""Pages of the study file, of every kind that a registry names, and of the shipped studies."""

from pathlib import Path

from generate.docstrings import annotation, cell, code, of_fields


def registries():
    """Heading → its registry, as `holdfast list` shows them."""
    from holdfast.data.benchmarks import BENCHMARKS
    from holdfast.data.training import SOURCES
    from holdfast.judges import JUDGES
    from holdfast.models.generate import GENERATORS
    from holdfast.models.samplers import SAMPLERS
    from holdfast.tuning import TUNERS
    from holdfast.tuning.defences import DEFENCES

    return {
        "Benchmarks": BENCHMARKS, "Judges": JUDGES, "Ways to ask a judge's model": SAMPLERS, "Data sources": SOURCES,
        "Defences": DEFENCES, "Where models are tuned": TUNERS, "Where answers are generated": GENERATORS,
    }  # fmt: skip


def settings(kind):
    """A table of the settings of a configuration."""
    documented, rows = of_fields(kind), []
    for name, field in kind.model_fields.items():
        if name == "kind":
            continue
        default = "needed" if field.is_required() else _default(field)
        rows.append(f"| `{name}` | `{code(annotation(kind, name))}` | {default} | {cell(documented.get(name, ''))} |\n")
    if not rows:
        return "No settings.\n"
    return "| setting | type | default | meaning |\n| --- | --- | --- | --- |\n" + "".join(rows)


def _default(field):
    value = field.get_default(call_default_factory=True, validated_data={})
    text = repr(str(value) if isinstance(value, Path) else value)
    return f"`{code(text)}`" if len(text) <= 60 else "see the text"


def page():
    """Every kind with its settings."""
    from holdfast.audit.public import PUBLIC
    from holdfast.core.config import load

    text = [
        "# Kinds\n\nWhat a study can name, with its settings; written from the code. `holdfast list` has the short form.\n"
    ]
    for heading, registry in registries().items():
        text.append(f"\n## {heading}\n")
        for name, reference in registry.items():
            kind = load(reference)
            text.append(
                f"\n### {name} {{#{heading.split()[0].lower()}-{name}}}\n\n{cell(' '.join((kind.__doc__ or '').split()))}\n\n"
            )
            text.append(settings(kind))
    text.append(
        "\n## Brought from the Hub by `audit`\n\n| name | measures | data set | licence |\n| --- | --- | --- | --- |\n"
    )
    for name, public in PUBLIC.items():
        gated = ", gated" if public.gated else ""
        text.append(f"| `{name}` | {public.measures.replace('_', '-')} | {public.repo} | {public.license}{gated} |\n")
    return "".join(text)


def study_file():
    """Every key of a study file."""
    from holdfast.audit.policy import Policy
    from holdfast.study import schema

    text = [
        "# Study files\n\nEvery key of a study file, from the types that read it. [Kinds](kinds.md) has what `data`, `judges` and the others take.\n"
    ]
    described = {
        "A study": schema.Study, "`evaluate`": schema.Evaluation, "A measured set": schema.Measured,
        "A condition": schema.ConditionSettings, "A template": schema.TemplateSettings, "A policy file of the gate": Policy,
    }  # fmt: skip
    for heading, kind in described.items():
        text.append(f"\n## {heading}\n\n{cell(' '.join((kind.__doc__ or '').split()))}\n\n{settings(kind)}")
    return "".join(text)


def studies():
    """The shipped studies, as their files are."""
    from holdfast.study.loader import shipped_studies, title

    text = ["# Shipped studies\n\n`holdfast run NAME` runs each of them. Copy one to begin your own.\n"]
    text += [f"\n## {path.stem}\n\n{title(path)}\n\n```yaml\n{path.read_text()}```\n" for path in shipped_studies()]
    return "".join(text)
