"""Whether an adapter is put on the base that it was made for.

Shapes alone do not tell: an adapter of a model before alignment fits the same model after alignment, and gives
figures that mean nothing. `adapter_config.json` names the base, but the name can be a folder on another machine, a
mirror, or a quantised copy. So only a comparison of weights is taken as certain.
"""

from __future__ import annotations

import json
import re
from functools import lru_cache
from pathlib import Path

from holdfast.core.errors import ModelError
from holdfast.models import hub

IN_HUB_CACHE = re.compile(r"models--(.+)")
"""A folder of the Hub's cache: `models--OWNER--NAME`."""


def recorded_base(adapter: Path) -> str:
    """The base that an adapter's own configuration names; "" if it names none."""
    config = json.loads((adapter / hub.ADAPTER).read_text(encoding="utf-8"))
    return str(config.get("base_model_name_or_path") or "").strip().rstrip("/\\")


def check_base(adapter: Path, base: Path) -> str:
    """What is doubtful about putting an adapter on a base; "" if nothing is.

    Args:
        adapter: the adapter's folder.
        base: the folder of the base that it is to be put on.

    Raises:
        ModelError: the base that the adapter names is on this machine, and its weights are others than those of
            `base`.
    """
    recorded = recorded_base(adapter)
    if not recorded:
        return ""
    folder = _on_this_machine(recorded)
    same = folder and (folder.samefile(base) or _same_weights(folder, base))
    if same is False:
        raise ModelError(
            f"the adapter in {adapter} was made for {recorded}, and the weights of {base} are others. Name {recorded} "
            f"as the study's `model`. If the adapter does belong to {base}, write that into `base_model_name_or_path` "
            f"of its {hub.ADAPTER}."
        )
    if same or _short_name(recorded) == _short_name(str(base)):
        return ""
    return (
        f"the adapter in {adapter} was made for {recorded!r}, and is put on {_name(str(base))!r}. If that is another "
        "model, its figures mean nothing; if it is the same one under another name, all is well."
    )


def _on_this_machine(recorded: str) -> Path | None:
    """The folder of a recorded base with its weights, if it is on this machine; nothing is fetched."""
    folder = Path(recorded).expanduser()
    if not folder.is_dir() and re.fullmatch(r"[\w.-]+/[\w.-]+", recorded):
        from huggingface_hub import try_to_load_from_cache

        config = try_to_load_from_cache(recorded, "config.json")
        folder = Path(config).parent if isinstance(config, str) else folder
    return folder if folder.is_dir() and list(folder.glob(hub.WEIGHT_FILES)) else None


@lru_cache(maxsize=32)
def _same_weights(one: Path, other: Path) -> bool | None:
    """Whether two models have equal weights; None where they cannot be compared, e.g. in another precision."""
    import torch
    from safetensors import safe_open

    tensors, others = hub.tensors(one), hub.tensors(other)
    described = [{name: (t.shape, t.dtype) for name, t in each.items()} for each in (tensors, others)]
    if not tensors or described[0] != described[1]:
        return None
    for name, tensor in tensors.items():
        with safe_open(tensor.file, "pt") as first, safe_open(others[name].file, "pt") as second:
            if not torch.equal(first.get_tensor(name), second.get_tensor(name)):
                return False
    return True


def _name(base: str) -> str:
    """A base as a person names it: a Hub id where it lies in the Hub's cache, else the path."""
    for part in Path(base).parts:
        if match := IN_HUB_CACHE.fullmatch(part):
            return match[1].replace("--", "/")
    return base


def _short_name(base: str) -> str:
    """The last part of a name, for owners and folders differ between copies of one model."""
    return re.split(r"[/\\]", _name(base))[-1].lower()
