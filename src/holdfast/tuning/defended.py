"""What defences do to the weights before and after tuning; no back end of tuning need know more of them."""

from __future__ import annotations

import gc
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import monotonic

from holdfast.core.protocols import Defence
from holdfast.core.types import Checkpoint, Tuned
from holdfast.models import hub, loading
from holdfast.tuning import checkpoints


def prepare_base(base: Checkpoint, defences: Sequence[Defence], seed: int, folder: Path) -> Checkpoint:
    """The base that is tuned: changed by the defences that act on it and kept in the folder, or the base itself."""
    acting = [defence for defence in defences if "base" in defence.places]
    prepared = checkpoints.base_in(folder, base)
    if not acting or prepared != base:
        return prepared
    import transformers

    transformers.set_seed(seed)
    loaded = loading.load(base, "float32")
    for defence in acting:
        defence.prepare_base(loaded, seed)
    draft = checkpoints.draft_base(folder)
    loaded.model.save_pretrained(draft)
    own = loading.tokenizer_folder(base)
    for pattern in hub.TEXT_FILES:  # its configuration, tokenizer and chat template stay as they are
        for path in own.glob(pattern):
            if not path.name.endswith(".safetensors.index.json"):
                shutil.copyfile(path, draft / path.name)
    checkpoints.publish_base(folder)
    del loaded
    _free_memory()
    return checkpoints.base_in(folder, base)


def _free_memory() -> None:
    """Give a device's memory back, also to the processes that tune next."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def finish(tuned: Mapping[int, Tuned], base: Checkpoint, defences: Sequence[Defence], seed: int, folder: Path) -> None:
    """Leave each tuned checkpoint in the folder as the defences that act after tuning change it: with whole weights."""
    import transformers

    _free_memory()  # of the tuning itself
    for epoch, made in tuned.items():
        begun = monotonic()
        transformers.set_seed(seed)
        loaded = loading.load(made.checkpoint, "float32")
        if hub.is_adapter(made.checkpoint.folder or Path()):
            loaded = loading.Loaded(loaded.model.merge_and_unload().eval(), loaded.chat)
        for defence in defences:
            defence.after(loaded, base, seed)
        draft = checkpoints.draft(folder, epoch)
        loaded.model.save_pretrained(draft)
        loaded.chat.save(draft)
        seconds = made.training["seconds"] + monotonic() - begun
        checkpoints.publish(folder, epoch, {**made.training, "seconds": seconds})
