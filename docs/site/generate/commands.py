"""The page of commands, from what `--help` says."""

import re

import typer

from generate.docstrings import text


def commands():
    """Each command with its full name, in the order in which `holdfast --help` names them."""
    from holdfast.cli import app

    def walk(group, name):
        for child_name, child in group.commands.items():
            full = f"{name} {child_name}"
            if not getattr(child, "commands", None):
                yield full, child
            else:
                if child.invoke_without_command:
                    yield full, child
                yield from walk(child, full)

    yield from walk(typer.main.get_command(app), "holdfast")


def page():
    """The page."""
    from holdfast.cli.errors import EXIT_CODES

    parts = ["# Commands\n\nWritten from what `holdfast COMMAND --help` says.\n\n", f"{EXIT_CODES}\n"]
    for name, command in commands():
        context = typer.Context(command, info_name=name)
        records = [record for parameter in command.params if (record := parameter.get_help_record(context))]
        arguments = " ".join(names.split()[0].upper() for names, _ in records if not names.startswith("-"))
        parts.append(f"\n## {name}\n\n{plain(command.help)}\n\n    {name} {arguments} [OPTIONS]\n\n")
        rows = [f"| `{shown(names)}` | {plain(said).replace('|', chr(92) + '|')} |\n" for names, said in records]
        if rows:
            parts.append("| argument or option | what it does |\n| --- | --- |\n" + "".join(rows))
    return "".join(parts)


def shown(names):
    """The name of an argument in capitals, and that of an option as it is."""
    first, _, rest = names.partition(" ")
    return f"{first if first.startswith('-') else first.upper()} {rest}".strip().replace("|", "\\|")


def plain(words):
    """Text of a help as Markdown."""
    paragraphs = re.split(r"\n\s*\n", (words or "").replace("\b", "").strip())
    return "\n\n".join(text(" ".join(paragraph.split())) for paragraph in paragraphs)
