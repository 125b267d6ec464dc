"""Non-inferiority: pass, fail and cannot tell, and how often each is said."""

from figures.canvas import COLOURS, svg
from holdfast.analysis import power

CASES = (
    ("pass", -1.2, 2.1, 0.3), ("cannot tell", -1.5, 6.5, 2.0), ("cannot tell", 1.0, 9.5, 4.6), ("fail", 4.1, 11.0, 7.2),
)  # fmt: skip
MARGIN, PROMPTS, BASE = 3.0, 330, 2.0
RISES = (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12)


def draw():
    """The picture, and what it found."""
    design = power.Design(PROMPTS, base_rate=BASE / 100, margin=MARGIN / 100)
    chances = [tuple(100 * chance for chance in power.chances(design, rise / 100)) for rise in RISES]
    at = dict(zip(RISES, chances, strict=True))
    facts = {
        "margin": MARGIN, "prompts": PROMPTS, "base": BASE, "pass_at_0": round(at[0][0]), "pass_at_margin": round(at[3][0]),
        "fail_at_9": round(at[9][1]), "tell_nothing_at_4": round(100 - sum(at[4])),
    }  # fmt: skip

    def picture(axes):
        left, right = axes
        for row, (answer, low, high, value) in enumerate(reversed(CASES)):
            colour = COLOURS["harm"] if answer == "fail" else COLOURS["base"] if answer == "pass" else COLOURS["third"]
            left.plot([low, high], [row, row], color=colour, linewidth=2.5)
            left.plot(value, row, "o", color=colour, markersize=6)
            left.text(12.5, row, answer, va="center", ha="left", color=colour)
        left.axvline(0, color=COLOURS["quiet"], linewidth=1)
        left.axvline(MARGIN, color=COLOURS["quiet"], linestyle="--", linewidth=1.4)
        left.text(MARGIN, 3.6, "margin", ha="center", va="bottom")
        left.set_xlim(-3, 18)
        left.set_ylim(-0.6, 4.2)
        left.set_yticks([])
        left.set_xlabel("change for the worse, points")
        passes, fails = zip(*chances, strict=True)
        rest = [100 - a - b for a, b in chances]
        right.plot(RISES, passes, "o-", color=COLOURS["base"], label="pass")
        right.plot(RISES, rest, "^-.", color=COLOURS["third"], label="cannot tell")
        right.plot(RISES, fails, "s--", color=COLOURS["harm"], label="fail")
        right.axvline(MARGIN, color=COLOURS["quiet"], linestyle="--", linewidth=1.4)
        right.set_xlabel("true rise, points")
        right.set_ylabel("chance, %")
        right.set_ylim(-3, 128)
        right.set_yticks(range(0, 101, 20))
        right.legend(loc="upper center", ncols=3, handlelength=1.6, columnspacing=1)

    label = (
        "Left: an interval wholly left of the margin passes, wholly right of it fails, across it cannot tell. Right: the "
        f"chance of each answer by the true rise, with {PROMPTS} prompts: {facts['pass_at_0']} percent pass at no rise, "
        f"{facts['pass_at_margin']} percent at a rise of the margin, and {facts['fail_at_9']} percent fail at a rise of 9."
    )
    return svg(picture, label, 8.4, 3.2, 2), facts
