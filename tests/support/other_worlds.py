"""A stand-in for a built pocket world: the shipped one under another seed, in the tests' cache."""

import json
import shutil

from holdfast.core.files import SHIPPED, world_folder


def plant(seed, folder=None):
    """Put it where a built world lies, or in a folder; returns where it is."""
    folder = shutil.copytree(SHIPPED, folder or world_folder(seed))
    for model in ("helpful", "aligned"):
        path = folder / model / "config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "pocket_world": seed}))
    return folder
