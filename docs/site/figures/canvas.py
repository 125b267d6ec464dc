"""How a picture is drawn: with colours that the page sets, legible in light and dark."""

import io
import re

COLOURS = {"harm": "#b53600", "base": "#0b5cab", "third": "#7a5c00", "quiet": "#777777"}
DARK = {"harm": "#ff9d73", "base": "#85bdf7", "third": "#e3c363", "quiet": "#a8b0b5"}
INK = "#111111"
STYLE = {
    "svg.fonttype": "none", "svg.hashsalt": "holdfast", "font.family": "sans-serif", "font.sans-serif": ["DejaVu Sans"],
    "font.size": 10, "axes.spines.top": False, "axes.spines.right": False, "axes.edgecolor": INK, "text.color": INK,
    "axes.labelcolor": INK, "xtick.color": INK, "ytick.color": INK, "axes.titlesize": 10, "axes.titlelocation": "left",
    "legend.frameon": False, "figure.facecolor": "none", "axes.facecolor": "none", "savefig.facecolor": "none",
}  # fmt: skip


def svg(draw, label, width=7.2, height=3.2, columns=1, **options):
    """A picture as SVG text; `draw` gets the axes."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(STYLE):
        figure = Figure((width, height), layout="constrained")
        axes = figure.subplots(1, columns, **options)
        draw(axes)
        written = io.StringIO()
        figure.savefig(written, format="svg", metadata={"Date": None, "Creator": None})
    return themed(written.getvalue(), label)


def themed(text, label):
    """The SVG with names of colours in place of colours, and a label for those who cannot see it."""
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.S)
    text = re.sub(r"<style[^>]*>\*\{[^<]*\}</style>", "", text)
    for name, colour in COLOURS.items():
        text = text.replace(colour, f"var(--drawn-{name})")
    text = text.replace(INK, "currentColor")
    prefix = re.sub(r"\W", "", label)[:16].lower()
    text = re.sub(r'(id="|url\(#|href="#)', lambda match: f"{match[1]}{prefix}-", text)
    label = label.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
    return text.replace("<svg", f'<svg role="img" aria-label="{label}"', 1).replace(">", f">{_own_colours()}", 1)


def _own_colours():
    """The colours of a picture that is looked at by itself, outside of a page."""
    light = "".join(f"--drawn-{name}:{colour};" for name, colour in COLOURS.items())
    dark = "".join(f"--drawn-{name}:{colour};" for name, colour in DARK.items())
    return f"<style>svg{{color:{INK};{light}}}@media (prefers-color-scheme:dark){{svg{{color:#e6e9eb;{dark}}}}}</style>"
