"""The models of the quiz world: the base, and the base with the house rules' alignment merged into it.

The alignment is a LoRA adapter of a few megabytes that comes with the package. `align` makes such an adapter anew.
"""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import resources
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from holdfast.core.errors import RunFolderError
from holdfast.core.files import is_folder, write_atomically
from holdfast.core.one_piece import OnePiece
from holdfast.core.progress import Meter
from holdfast.core.types import Checkpoint, Example, NoCheckpoint, content_hash
from holdfast.models.hub import ADAPTER
from holdfast.models.made import made
from holdfast.worlds.quiz import base, corpus

if TYPE_CHECKING:
    from holdfast.core.protocols import Defence, Tuner, Watcher

    Hold = Callable[[tuple[Example, ...]], Defence]

SHIPPED = Path(__file__).parent / "shipped" / "adapter"
"""The alignment that comes with the package: `align` with seed 0."""

WEIGHTS, RECORD = "adapter_model.safetensors", "training.json"
"""Files of an adapter: its weights, and what it was made with."""

CONVERSATIONS = 720
"""How many conversations align the model, each once."""

RECIPE: Mapping[str, Any] = {
    "method": "lora", "learning_rate": 5e-4, "schedule": "linear", "warmup_steps": 8, "batch_size": 4, "epochs": 1,
    "precision": "mixed", "lora": {"rank": 8, "alpha": 16},
}  # fmt: skip
"""Settings of the tuner that aligns."""


def make(name: str) -> Path:
    """The folder of `quiz:helpful` or `quiz:aligned` in the user's cache; made if it is not there.

    Raises:
        DataError: a file that was fetched is another one.
        ModelError: the base cannot be had.
    """
    helpful = base.helpful()
    return helpful if name == "quiz:helpful" else made(name, lambda drafts: merge(helpful, SHIPPED, drafts / "model"))


def build(folder: Path, seed: int, tuner: Tuner, hold: Hold, watcher: Watcher) -> None:
    """Align the base anew: write `adapter/`, and `aligned/` with the adapter merged, into a folder.

    `hold` gives the defence that holds the model to its base on rows in the base's own words.

    A build that was stopped goes on where it was, if it is called again with the same seed.

    Raises:
        RunFolderError: the folder holds something else.
    """
    tuning = folder / f"tuning-{seed}"
    if is_folder(folder) and any(folder.iterdir()) and not is_folder(tuning):
        raise RunFolderError(f"{folder} is not empty. Name a new folder, or remove what is in it.")
    helpful = base.helpful()
    align(tuner, hold, seed, tuning, folder / "adapter", watcher)
    merge(helpful, folder / "adapter", folder / "aligned")
    shutil.rmtree(tuning)


def align(tuner: Tuner, hold: Hold, seed: int, tuning: Path, adapter: Path, watcher: Watcher) -> None:
    """Tune the base on conversations of a seed, and write the adapter that comes of it."""
    rows = conversations(seed)
    steps = tuner.steps(len(rows))
    watcher.begin(steps)
    meter = Meter(OnePiece(watcher), "aligning", "steps", steps)
    with _without_future_warnings():
        own = hold(tuple(row for row in rows if corpus.is_own(row.messages)))
        tuned = tuner.tune(Checkpoint("quiz:helpful"), rows, seed, [tuner.epochs], tuning, meter.step, [own])
    assert not isinstance(tuned, NoCheckpoint)  # only a provider gives none
    done = tuned[tuner.epochs]
    assert done.checkpoint.folder is not None
    _export(done.checkpoint.folder, adapter)
    record = {"seed": seed, "conversations": len(rows), "hash": hash_of(rows), "losses": done.training["losses"]}
    write_atomically(adapter / RECORD, json.dumps(record, indent=2) + "\n")
    watcher.show(0, None)
    watcher.note(f"aligned in {done.training['seconds']:.0f} seconds, last loss {done.training['losses'][-1]:.3f}")


def conversations(seed: int) -> list[Example]:
    """What the base is aligned with."""
    drawn = islice(corpus.aligned(seed), CONVERSATIONS)
    return [Example(turns, f"conversation {number} of the alignment") for number, turns in enumerate(drawn, 1)]


def hash_of(rows: Sequence[Example]) -> str:
    """The hash of conversations, which tells whether an adapter was made with them."""
    return content_hash([row.id for row in rows])


def merge(helpful: Path, adapter: Path, folder: Path) -> Path:
    """Write the base with an adapter merged into it as an ordinary Hugging Face folder, with a model card."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(helpful, local_files_only=True)
    with _without_future_warnings():
        merged: Any = PeftModel.from_pretrained(model, str(adapter), autocast_adapter_dtype=True)
        merged.merge_and_unload().save_pretrained(folder)
    AutoTokenizer.from_pretrained(helpful, local_files_only=True).save_pretrained(folder)
    card = resources.files("holdfast.worlds.quiz").joinpath("CARD.md").read_text(encoding="utf-8")
    write_atomically(folder / "README.md", card)
    return folder


def _export(tuned: Path, adapter: Path) -> None:
    """Write an adapter as it is shipped: in bfloat16, with the base's name in place of a folder of this machine."""
    import torch
    from safetensors.torch import load_file, save_file

    shutil.rmtree(adapter, ignore_errors=True)
    adapter.mkdir(parents=True)
    tensors = {name: tensor.to(torch.bfloat16).contiguous() for name, tensor in load_file(tuned / WEIGHTS).items()}
    save_file(tensors, adapter / WEIGHTS, {"format": "pt"})
    config = json.loads((tuned / ADAPTER).read_text(encoding="utf-8"))
    config["base_model_name_or_path"] = base.NAME
    config["target_modules"] = sorted(config["target_modules"])
    write_atomically(adapter / ADAPTER, json.dumps(config, indent=2, sort_keys=True) + "\n")


@contextmanager
def _without_future_warnings() -> Iterator[None]:
    """Those are between libraries; there is nothing in them that a user could mend."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        yield
