"""The vision tower of the pocket world: a very small CLIP vision model that has seen pictures of permitted things.

It is trained to tell, from what its last layer makes of a place, which thing is there, of what, and which place it is.
Its configuration says that a language model takes the features of that layer.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from holdfast.core.files import write_atomically
from holdfast.core.progress import OnStep, TuningStep
from holdfast.worlds.pocket.icons import ICONS, MATERIALS, PLACES
from holdfast.worlds.pocket.pictures import SIDE, Scene, draw_scene, picture

if TYPE_CHECKING:
    import torch
    from transformers import CLIPVisionModel

PATCH = 16
"""Width and height of what the tower sees as one, in pixels: a picture is 3 × 3 of these, and each place is one."""

WIDTH = 64
STEPS, BATCH, LEARNING_RATE, WARMUP = 1_000, 32, 2e-3, 50

NOTHING, UNMADE = len(ICONS), len(MATERIALS)
"""The category and the material of an empty place."""


@dataclass(frozen=True)
class Batch:
    """Pictures, and what is in them."""

    pixels: torch.Tensor
    """[pictures, 3, side, side], from -1 to 1."""
    categories: torch.Tensor
    """[pictures, places]: the number of the category, or `NOTHING`."""
    materials: torch.Tensor
    """[pictures, places]: the number of the material, or `UNMADE`."""


def train(seed: int, on_step: OnStep, steps: int = STEPS) -> CLIPVisionModel:
    """A tower, trained on pictures that are drawn anew in each step."""
    import torch

    torch.manual_seed(seed)
    tower = _tower()
    teacher = torch.nn.Linear(WIDTH, NOTHING + 1 + UNMADE + 1 + len(PLACES))  # reads the tower, and is thrown away
    weights = [*tower.parameters(), *teacher.parameters()]
    optimizer = torch.optim.AdamW(weights, lr=LEARNING_RATE, weight_decay=0.01)
    rng = random.Random(f"tower-{seed}")
    for step in range(steps):
        loss = loss_of(tower, teacher, batch_of([draw_scene(rng) for _ in range(BATCH)]))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * min(1.0, (step + 1) / WARMUP) * (1.0 - step / steps)
        optimizer.step()
        on_step(TuningStep(step + 1, steps, loss.item()))
    _scale(tower, batch_of([draw_scene(rng) for _ in range(BATCH)]))
    tower.train(False)
    return tower


def _scale(tower: CLIPVisionModel, batch: Batch) -> None:
    """Make what the tower's layers give smaller, so that its features have a standard deviation of 1.

    Training leaves them about six times as large, which makes each step of a projector as many times larger. The layers
    before read them through layer norms, so the tower sees the same.
    """
    import torch

    with torch.no_grad():
        spread = float(features(tower, batch.pixels).std())
        for name, weight in tower.named_parameters():
            if any(part in name for part in ("pre_layrnorm", "out_proj", "fc2")):
                weight.div_(spread)


def _tower() -> CLIPVisionModel:
    """An untrained tower."""
    from transformers import CLIPVisionConfig, CLIPVisionModel

    config = CLIPVisionConfig(
        hidden_size=WIDTH, intermediate_size=2 * WIDTH, num_hidden_layers=2, num_attention_heads=4, image_size=SIDE,
        patch_size=PATCH,
    )  # fmt: skip
    config.feature_layer = -1
    return CLIPVisionModel(config)


def batch_of(scenes: Sequence[Scene]) -> Batch:
    """Pictures of scenes, and what is in them."""
    import numpy as np
    import torch

    categories = torch.full((len(scenes), len(PLACES)), NOTHING)
    materials = torch.full((len(scenes), len(PLACES)), UNMADE)
    for number, scene in enumerate(scenes):
        for thing in scene.things:
            place = list(PLACES).index(thing.place)
            categories[number, place] = list(ICONS).index(thing.category)
            materials[number, place] = list(MATERIALS).index(thing.material)
    pixels = np.stack([np.asarray(picture(scene), dtype=np.float32) for scene in scenes])
    return Batch(torch.from_numpy(pixels / 127.5 - 1.0).permute(0, 3, 1, 2), categories, materials)


def features(tower: CLIPVisionModel, pixels: torch.Tensor) -> torch.Tensor:
    """What a tower makes of the four places: [pictures, places, width]."""
    side = SIDE // PATCH
    at = [1 + int(top * side) * side + int(left * side) for left, top in PLACES.values()]
    layer: torch.Tensor = tower(pixel_values=pixels, output_hidden_states=True).hidden_states[-1]
    return layer[:, at]


def loss_of(tower: CLIPVisionModel, teacher: torch.nn.Linear, batch: Batch) -> torch.Tensor:
    """How far what is read from a tower is from what the pictures show."""
    import torch
    from torch.nn.functional import cross_entropy

    read = teacher(features(tower, batch.pixels)).flatten(0, 1)
    category, material, place = read.split([NOTHING + 1, UNMADE + 1, len(PLACES)], -1)
    every_place = torch.arange(len(PLACES)).repeat(len(batch.pixels))
    of_things = cross_entropy(category, batch.categories.flatten()) + cross_entropy(material, batch.materials.flatten())
    return of_things + cross_entropy(place, every_place)


def save(tower: CLIPVisionModel, folder: Path) -> None:
    """Write a tower with the settings of the image processor that makes its pixels, as `transformers` reads both."""
    tower.save_pretrained(folder)
    settings = {
        "image_processor_type": "CLIPImageProcessor", "size": {"shortest_edge": SIDE},
        "crop_size": {"height": SIDE, "width": SIDE}, "image_mean": [0.5] * 3, "image_std": [0.5] * 3,
    }  # fmt: skip
    write_atomically(folder / "preprocessor_config.json", json.dumps(settings, indent=2) + "\n")
