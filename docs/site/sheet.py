"""Draw the pictures of docs/visual.md: docs/pictures/things.png, and pictures of the rows, larger than they are.

python docs/site/sheet.py
"""

import sys
from pathlib import Path

DOCS = Path(__file__).parents[1]
LARGER = 4
SHOWN = ("train-001", "train-002", "held-out-001", "held-out-002")
"""Pictures of the rows that the page shows."""


def things():
    """Each of the 22 things once, in the eight materials in turn."""
    from PIL import Image

    from holdfast.worlds.pocket.icons import ICONS, MATERIALS, PLACES
    from holdfast.worlds.pocket.pictures import SIDE, Scene, Seen, picture

    materials = list(MATERIALS)
    seen = [
        Seen(category, materials[number % len(materials)], list(PLACES)[number % 4], 0.33, (0.0, 0.0))
        for number, category in enumerate(ICONS)
    ]
    scenes = [Scene(tuple(seen[at : at + 4]), at // 4 % 3) for at in range(0, len(seen), 4)]
    sheet = Image.new("RGB", (len(scenes) * SIDE * LARGER, SIDE * LARGER), "white")
    for number, scene in enumerate(scenes):
        sheet.paste(_large(picture(scene)), (number * SIDE * LARGER, 0))
    return sheet


def _large(small):
    return small.resize((small.width * LARGER, small.height * LARGER), 0)


def main():
    """Write the files."""
    from holdfast.worlds.pocket.pictures import picture
    from holdfast.worlds.pocket.sights import every_picture

    things().save(DOCS / "pictures" / "things.png", optimize=True)
    by_name = {shown.name: shown for part in every_picture().values() for shown in part}
    for name in SHOWN:
        _large(picture(by_name[f"{name}.png"].scene)).save(DOCS / "pictures" / f"{name}.png", optimize=True)


if __name__ == "__main__":
    sys.path[:0] = [str(DOCS.parent / "src")]
    main()
