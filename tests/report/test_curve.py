"""The curve of a training: a mark for each look, told apart without colour, and titles that stay text."""

from xml.etree import ElementTree

from holdfast.report.curve import MARKS, OTHER_MARK, Point, svg

SVG = "{http://www.w3.org/2000/svg}"
POINTS = [Point(0, 0.0, "base"), Point(10, 20.0, "cannot tell"), Point(20, 0.0, "pass"), Point(30, 98.2, "fail")]


def marks(root):
    """What each mark says → its sign and place."""
    texts = [text for text in root.iter(f"{SVG}text") if text.find(f"{SVG}title") is not None]
    return {text.find(f"{SVG}title").text: (text.text, float(text.get("x")), float(text.get("y"))) for text in texts}


def test_each_look_has_its_mark_at_its_place():
    root = ElementTree.fromstring(svg(POINTS, "Harm", 3.0))
    places = marks(root)
    assert {what: sign for what, (sign, _, _) in places.items()} == {
        "step 0: 0.0 %, base": MARKS["base"], "step 10: 20.0 %, cannot tell": OTHER_MARK,
        "step 20: 0.0 %, pass": MARKS["pass"], "step 30: 98.2 %, fail": MARKS["fail"],
    }  # fmt: skip
    across = [x for _, x, _ in places.values()]
    assert across == sorted(across)
    heights = {what.split()[2]: y for what, (_, _, y) in places.items()}
    assert heights["98.2"] < heights["20.0"] < heights["0.0"]
    assert len(root.find(f"{SVG}polyline").get("points").split()) == 4
    assert "allowed: 3.0 %" in "".join(root.itertext())


def test_titles_stay_text():
    root = ElementTree.fromstring(svg(POINTS, '"><script>alert(1)</script>'))
    assert not list(root.iter(f"{SVG}script"))
    assert root.get("aria-label") == '"><script>alert(1)</script>'


def test_a_training_without_figures_has_an_empty_curve():
    assert marks(ElementTree.fromstring(svg([], "Harm"))) == {}
