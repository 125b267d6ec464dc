"""Photograph the audit's page for the README and the start page, and record the demo.

    python docs/site/photograph.py [audit] [demo]      # both, if none is named; needs Chromium for the first

docs/pictures/audit.png is the top of the page of `holdfast audit pocket:aligned pocket:helpful`; docs/pictures/demo.svg
plays what `holdfast run demo` printed, line by line, faster than it was.
"""

import base64
import os
import re
import subprocess
import sys
import tempfile
import time
from html import escape
from pathlib import Path

ROOT = Path(__file__).parents[2]
PICTURES = ROOT / "docs" / "pictures"
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "COLUMNS": "96", "NO_COLOR": "1"}
HOLDFAST = [sys.executable, "-m", "holdfast"]
WIDTH, HEIGHT = 1000, 1290
PLAYED = 9.0
"""Seconds that the recording takes."""
UNDER_WAY = re.compile(r"\d+:\d\d gone, .* left: (tuning|answering|judging) ")
"""Lines on work under way, which a slow machine prints every half a minute; they are left out."""


def audit():
    """The picture of an audit's page."""
    sys.path.insert(0, str(ROOT / "tests"))
    from support.chromium import Chromium

    with tempfile.TemporaryDirectory() as folder:
        command = [*HOLDFAST, "audit", "pocket:aligned", "pocket:helpful", "--out", f"{folder}/run"]
        subprocess.run(command, check=True, env=ENVIRONMENT, cwd=folder, stdout=subprocess.DEVNULL)
        with Chromium(folder) as browser:
            page = browser.open(f"{folder}/run/report.html", width=WIDTH, height=HEIGHT)
            clip = {"x": 0, "y": 0, "width": WIDTH, "height": HEIGHT, "scale": 1}
            shot = page.call("Page.captureScreenshot", format="png", clip=clip)["data"]
    (PICTURES / "audit.png").write_bytes(base64.b64decode(shot))


def demo():
    """The recording of the demo."""
    with tempfile.TemporaryDirectory() as folder:
        begun, lines = time.monotonic(), [(0.0, "$ holdfast run demo")]
        process = subprocess.Popen(
            [*HOLDFAST, "run", "demo"], env=ENVIRONMENT, cwd=folder, text=True, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )  # fmt: skip
        for line in process.stdout:
            if not UNDER_WAY.match(line):
                lines.append((time.monotonic() - begun, line.rstrip()))
        if process.wait():
            raise SystemExit("\n".join(text for _, text in lines))
    (PICTURES / "demo.svg").write_text(played(lines))


def played(lines):
    """Lines with the seconds at which they came, as an SVG that plays them."""
    whole, height = lines[-1][0], 17 * len(lines) + 34
    width = 16 + 8.05 * max(len(text) for _, text in lines)
    shown = []
    for row, (second, text) in enumerate(lines):
        style = f"animation-delay:{PLAYED * second / whole:.2f}s"
        kept = re.sub(r" ", "\u00a0", escape(text, quote=False))
        shown.append(f'<text x="12" y="{26 + 17 * row}" style="{style}">{kept}</text>')
    rules = (
        "svg{background:#10161a}text{font:13px 'DejaVu Sans Mono',Menlo,Consolas,monospace;fill:#dbe4e8;opacity:0;"
        "animation:come .05s forwards}@keyframes come{to{opacity:1}}text:first-of-type{fill:#7fd3e0}"
        "@media (prefers-reduced-motion:reduce){text{animation:none;opacity:1}}"
    )
    label = "What `holdfast run demo` prints, ending with its tables"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height}" role="img" aria-label="{label}">'
        f"<style>{rules}</style>{''.join(shown)}</svg>\n"
    )


if __name__ == "__main__":
    for name in sys.argv[1:] or ("audit", "demo"):
        {"audit": audit, "demo": demo}[name]()
