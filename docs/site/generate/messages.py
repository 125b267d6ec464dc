"""The page of error messages, from the places in the code that raise them."""

import ast
import html
from pathlib import Path

HOUSE = Path(__file__).parents[3] / "src" / "holdfast"
LEFT_OUT = ("did_you_mean", "similar_name")
"""Functions whose part of a message is not always there."""

ROOMS = {
    "study": "Studies", "data": "Benchmarks and rows", "models": "Models and servers", "tuning": "Tuning",
    "judges": "Judges", "audit": "Audits and the gate", "paper": "Reproducing the paper", "worlds": "The worlds",
    "integrations": "Inspect, TRL and GitHub", "service": "The service", "analysis": "Figures and calibrations",
    "report": "Pages and tables", "core": "Files, folders and budgets", "cli": "The command line", "api.py": "Python",
}  # fmt: skip


def found():
    """Room → (message, name of the error, file), each message once."""
    by_room = {}
    for path in sorted(HOUSE.rglob("*.py")):
        room = path.relative_to(HOUSE).parts[0]
        for node in ast.walk(ast.parse(path.read_text())):
            error, message = _raised(node)
            text = _text(message).strip() if message is not None else ""
            if len(text.replace("…", "").replace("*", "").split()) >= 3:
                by_room.setdefault(room, {}).setdefault(text, (error, str(path.relative_to(HOUSE))))
    return by_room


def _raised(node):
    """The error's name and the expression of its message, where a node raises one of ours."""
    if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
        name = getattr(node.exc.func, "id", getattr(node.exc.func, "attr", ""))
        if (name.endswith("Error") and name not in ("NotImplementedError", "AttributeError")) and node.exc.args:
            return name, node.exc.args[0]
    if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "explained" and node.args:
        return "a mistake in a study", node.args[0]
    return "", None


def _text(node):
    """A message with names in place of what only a run knows."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(map(_text, node.values))
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _text(node.left) + _text(node.right)
    if isinstance(node, ast.FormattedValue):
        return _text(node.value)
    if isinstance(node, ast.Name):
        return f"⟨{node.id.lower().replace('_', ' ')}⟩"
    if isinstance(node, ast.Attribute):
        return f"⟨{node.attr.lower().replace('_', ' ')}⟩"
    if isinstance(node, ast.Call) and getattr(node.func, "id", "") in LEFT_OUT:
        return ""
    return "⟨…⟩"


def page():
    """The page."""
    intro = (
        "# Every error message\n\nWritten from the code: each message of ours, in the form in which it is raised. "
        "Names in ⟨…⟩ stand for what only your run knows. A message says what was wrong and how to mend it; "
        "[when something fails](../troubleshooting.md) has more on the frequent ones. Search this page for words of yours.\n"
    )
    text = [intro]
    rooms = found()
    for room in sorted(rooms, key=lambda room: list(ROOMS).index(room) if room in ROOMS else 99):
        text.append(f"\n## {ROOMS.get(room, room)}\n\n| message | kind | raised in |\n| --- | --- | --- |\n")
        for message, (error, file) in rooms[room].items():
            shown = html.escape(" ".join(message.split()), quote=False).replace("|", "\\|")
            for special in "*_`[]":
                shown = shown.replace(special, f"\\{special}")
            text.append(f"| {shown} | {error} | `{file}` |\n")
    return "".join(text)
