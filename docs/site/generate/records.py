"""Pages of the fields of results.json and audit.json, from their types."""

from dataclasses import MISSING, fields, is_dataclass
from typing import get_args, get_type_hints

from generate.docstrings import annotation, cell, code, of_fields


def parts(kind, seen=None):
    """The dataclasses that a type is made of, outermost first, each once."""
    seen = {} if seen is None else seen
    if is_dataclass(kind) and kind not in seen:
        seen[kind] = True
        for hint in get_type_hints(kind).values():
            parts(hint, seen)
    for inner in get_args(kind):
        parts(inner, seen)
    return list(seen)


def page(title, intro, kind):
    """A table for each type."""
    every = parts(kind)
    names = {part.__name__ for part in every}
    text = [f"# {title}\n\n{intro}\n"]
    for part in every:
        summary = (part.__doc__ or "").strip().split("\n\n")[0]
        text.append(
            f"\n## {part.__name__}\n\n{' '.join(summary.split())}\n\n| field | type | meaning |\n| --- | --- | --- |\n"
        )
        documented = of_fields(part)
        for field in fields(part):
            said = annotation(part, field.name)
            linked = [
                f"[{name}](#{name.lower()})"
                for name in sorted(names)
                if name in said.replace("[", " ").replace(",", " ").replace("]", " ").split()
            ]
            optional = "" if field.default is MISSING and field.default_factory is MISSING else " (may be left out)"
            meaning = (
                cell(documented.get(field.name, "")) + optional + ("" if not linked else f" → {', '.join(linked)}")
            )
            text.append(f"| `{field.name}` | `{code(said)}` | {meaning.strip()} |\n")
    return "".join(text)


def results():
    """The page of results.json."""
    from holdfast.core.results import SCHEMA, RunResults

    return page(
        "results.json, field by field",
        f"Written from the types that read and write the file (schema {SCHEMA}); `Mapping` is an object, `tuple` a list. "
        "Rates are in percent, scores from 1 to 5, intervals 95 %. [What the fields mean](../results.md) is explained there.",
        RunResults,
    )


def audit():
    """The page of audit.json."""
    from holdfast.core.audit_record import AUDIT_SCHEMA, AuditRecord

    return page(
        "audit.json, field by field",
        f"Written from the types that read and write the file (schema {AUDIT_SCHEMA}); `Mapping` is an object, `tuple` a "
        "list. Rates are in percent, scores from 1 to 5, intervals 95 %. [The audit's page](../audit.md) explains them.",
        AuditRecord,
    )
