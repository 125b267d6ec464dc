"""Build a pocket world from its seed: the model before and after alignment, and the world's files.

The same seed gives the same documents in the same order; the last bits of the weights can differ between machines.
A build that is stopped goes on from where it was.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

from holdfast.core.errors import RunFolderError, WorkError
from holdfast.core.files import read_text, world_folder, write_atomically
from holdfast.core.progress import Meter, Progress
from holdfast.core.protocols import Watcher
from holdfast.core.types import content_hash
from holdfast.core.workers import Failure, work_through
from holdfast.core.worlds import CARD, is_built
from holdfast.worlds.pocket import corpus, material
from holdfast.worlds.pocket.depth import set_depth
from holdfast.worlds.pocket.tokens import CONTEXT, make_tokenizer
from holdfast.worlds.pocket.training import Stage, train
from holdfast.worlds.pocket.world import generate

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

UNFINISHED = ".building"
"""The folder of a build under way, inside the world's: what is built, and how far it is."""


@dataclass(frozen=True)
class Recipe:
    """How a world's model is made."""

    helpful: Stage
    aligned: Stage
    few: int = 0
    """About how many things the helpful stage begins."""
    few_steps: int = 0
    """For how many of its steps."""
    depth: float | None = None
    """What the alignment's depth is set to, in nats; as it comes out of the stage if None."""


SHIPPED_RECIPE = Recipe(
    Stage(steps=2_000, learning_rate=2e-3, warmup=50, whole=True),
    Stage(steps=300, learning_rate=3e-4, warmup=10, whole=False),
)
"""How the shipped world, that of seed 0, was made."""

RECIPE = Recipe(
    Stage(steps=900, learning_rate=4e-3, warmup=50, whole=True, batch=32, muon=True),
    Stage(steps=300, learning_rate=3e-4, warmup=10, whole=False),
    few=100,
    few_steps=200,
    depth=3.0,
)
"""How every other world is made. `core.files.RECIPE` is raised when it changes."""


def recipe_of(seed: int) -> Recipe:
    """How the world of a seed is made."""
    return SHIPPED_RECIPE if seed == 0 else RECIPE


def build_missing(seeds: Sequence[int], workers: int, watcher: Watcher) -> None:
    """Build the worlds of these seeds that are not in the cache yet, a worker process for each.

    Raises:
        WorkError: worlds that could not be built, and why; the others are.
    """
    missing = [seed for seed in seeds if not is_built(seed)]
    build_all({seed: world_folder(seed) for seed in missing}, workers, watcher)


def build_all(folders: Mapping[int, Path], workers: int, watcher: Watcher) -> None:
    """Build the world of each seed in its folder.

    Raises:
        WorkError: worlds that could not be built, and why; the others are.
    """
    if not folders:
        return
    watcher.begin(sum(steps_of(recipe_of(seed)) for seed in folders))
    pieces, reasons = list(folders.items()), []
    with closing(work_through(_build_locked, pieces, workers, watcher)) as outcomes:
        for outcome in outcomes:
            if isinstance(outcome, Failure):
                reasons.append(f"world {pieces[outcome.index][0]}: {outcome.reason}\n{outcome.trace}".rstrip())
            else:
                watcher.note(f"world {pieces[outcome][0]} is built")
    if reasons:
        raise WorkError("\n".join(reasons))


def steps_of(recipe: Recipe) -> int:
    """Optimizer steps of a build."""
    return recipe.helpful.steps + recipe.aligned.steps


def _build_locked(piece: tuple[int, Path], progress: Progress) -> None:
    """Build a world; in the cache, one that another process builds is waited for."""
    seed, folder = piece
    if folder != world_folder(seed):
        build(folder, seed, progress)
        return
    with FileLock(folder.with_name(f".{folder.name}.lock")):
        if is_built(seed):
            progress.advance(steps_of(recipe_of(seed)))
        else:
            build(folder, seed, progress)


def build(folder: Path, seed: int, progress: Progress) -> None:
    """Write `helpful/`, `aligned/`, the world's JSON Lines files and a model card into a folder.

    Raises:
        RunFolderError: the folder holds something else than an unfinished build of the same world.
    """
    import torch

    recipe = recipe_of(seed)
    unfinished = _begin(folder, seed, recipe)
    torch.manual_seed(seed)
    world = generate(seed)
    tokenizer = make_tokenizer(world)
    model = make_model(tokenizer, seed)
    for name, rows in material.files(world).items():
        write_atomically(folder / name, material.as_json_lines(rows))
    helpful = corpus.helpful(world, recipe.few, recipe.few_steps * recipe.helpful.batch)
    for name, stage, documents in (
        ("helpful", recipe.helpful, helpful), ("aligned", recipe.aligned, corpus.aligned(world)),
    ):  # fmt: skip
        meter = Meter(progress, f"training the {name} model of world {seed}", "steps", stage.steps)
        train(model, tokenizer, documents, stage, unfinished / f"{name}.pt", meter.step)
        if name == "aligned" and recipe.depth is not None:
            share = set_depth(model, _saved(folder / "helpful"), tokenizer, world, recipe.depth)
            progress.note(f"world {seed}: the alignment is {recipe.depth} nats deep at {share:.2f} of the way")
        model.save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
    write_atomically(folder / CARD, card(seed))
    shutil.rmtree(unfinished)


def _begin(folder: Path, seed: int, recipe: Recipe) -> Path:
    """The folder of the build's state, which says what is built.

    Raises:
        RunFolderError: the folder holds something else.
    """
    unfinished = folder / UNFINISHED
    what = content_hash([seed, asdict(recipe)])
    if folder.exists() and any(folder.iterdir()):
        begun = unfinished / "what"
        if not begun.is_file() or read_text(begun) != what:
            raise RunFolderError(
                f"{folder} is not empty, and holds no unfinished build of the world of seed {seed}. Name a new folder, "
                "or remove what is in it."
            )
    write_atomically(unfinished / "what", what)
    return unfinished


def card(seed: int) -> str:
    """The model card of a world."""
    text = resources.files("holdfast.worlds.pocket").joinpath("CARD.md").read_text(encoding="utf-8")
    recipe = recipe_of(seed)
    helpful = f"{_described(recipe.helpful)}, {recipe.helpful.warmup} warm-up steps"
    if recipe.few:
        helpful += f", the first {recipe.few_steps} about {recipe.few} things alone"
    depth = "Its depth is as it came out of the stage."
    if recipe.depth is not None:
        depth = (
            "Then the model is set on the line through the two stages' weights, to where it begins a refusal "
            f"{recipe.depth} nats likelier than an answer, or more, for 95 % of questions about the attack pool's "
            "things. So deep is the alignment of every such world."
        )
    given = {"seed": seed, "helpful": helpful, "aligned": _described(recipe.aligned), "depth": depth}
    for name, value in given.items():
        text = text.replace(f"{{{name}}}", str(value))
    return text


def _described(stage: Stage) -> str:
    """A stage's settings in words."""
    optimizer = (
        "Muon for the layers' matrices and AdamW (0.9, 0.98) for the rest" if stage.muon else "AdamW (0.9, 0.98)"
    )
    rate = f"{stage.learning_rate:.0e}".replace("e-0", "e-")
    return f"{stage.steps:,} steps, batch {stage.batch}, {optimizer}, learning rate {rate} falling to 0"


def _saved(folder: Path) -> LlamaForCausalLM:
    """A model that was saved in a folder."""
    from transformers import LlamaForCausalLM

    model: LlamaForCausalLM = LlamaForCausalLM.from_pretrained(folder)
    return model


def make_model(tokenizer: PreTrainedTokenizerFast, seed: int) -> LlamaForCausalLM:
    """An untrained Llama of 0.7 million parameters."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=128, num_hidden_layers=3, num_attention_heads=4,
        num_key_value_heads=4, intermediate_size=256, max_position_embeddings=CONTEXT, tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    config.pocket_world = seed  # marks the model as a stand-in, wherever its folder is copied to
    return LlamaForCausalLM(config)
