"""A model and its tokenizer, loaded safely: from safetensors, without remote code, with checks that all of it fits."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from holdfast.core.errors import ModelError
from holdfast.core.types import Checkpoint, content_hash
from holdfast.models import hub, visual
from holdfast.models.adapters import check_base
from holdfast.models.chat import Chat
from holdfast.models.hub import is_adapter, resolve

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Precision = Literal["auto", "float32", "bfloat16"]


@dataclass(frozen=True)
class Loaded:
    """A model ready to answer or to be tuned, and its tokenizer."""

    model: Any
    """A transformers or peft model in evaluation mode, on the best device of the machine."""
    chat: Chat
    """Its tokenizer and chat template. The tokenizer pads on the left."""

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The chat's tokenizer."""
        return self.chat.tokenizer


def best_device() -> str:
    """`cuda`, else `mps`, else `cpu`."""
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """A tokenizer that pads on the left. Its padding token is no end of turn, unless there is no other token for it.

    Raises:
        ModelError: the folder has no tokenizer that can be read.
    """
    try:
        tokenizer: PreTrainedTokenizerBase = _tokenizer_class(folder).from_pretrained(folder, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"{folder} has no tokenizer that can be read: {error}") from error
    tokenizer.padding_side = "left"
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.unk_token or tokenizer.eos_token
    return tokenizer


def _tokenizer_class(folder: Path) -> Any:
    """What reads a tokenizer. To find out the class takes transformers a second; most models need none of their own."""
    path = folder / "tokenizer_config.json"
    named = json.loads(path.read_text(encoding="utf-8")).get("tokenizer_class") if path.is_file() else None
    if named in ("PreTrainedTokenizerFast", "TokenizersBackend") and (folder / "tokenizer.json").is_file():
        from transformers import PreTrainedTokenizerFast

        return PreTrainedTokenizerFast
    from transformers import AutoTokenizer

    return AutoTokenizer


def tokenizer_folder(checkpoint: Checkpoint) -> Path:
    """Where a checkpoint's tokenizer and chat template are read: its base's folder, unless its own is asked for."""
    own = checkpoint.folder
    return own if own and checkpoint.own_template else resolve(checkpoint.base, checkpoint.revision)


def load_chat(checkpoint: Checkpoint) -> Chat:
    """A checkpoint's tokenizer and chat template. No weights are read."""
    return chat_in(tokenizer_folder(checkpoint), checkpoint.thinking)


def chat_in(folder: Path, thinking: bool = False) -> Chat:
    """The tokenizer and chat template in a folder, and what its model sees with, if it does: read once."""
    return _chat_of(folder, thinking, hub.state_of(folder) if folder.is_dir() else ())


@lru_cache(maxsize=8)
def _chat_of(folder: Path, thinking: bool, state: tuple[Any, ...]) -> Chat:
    """What is in a folder while its files are as they are."""
    tokenizer = load_tokenizer(folder)
    return visual.load_chat(folder, tokenizer, thinking) if visual.sees(folder) else Chat(tokenizer, thinking)


def load(checkpoint: Checkpoint, precision: Precision = "auto", four_bit: bool = False) -> Loaded:
    """Load a checkpoint: the initial model, full weights, or an adapter on its base.

    Args:
        checkpoint: what to load.
        precision: that of the weights. `auto` is float32 on a CPU; elsewhere it is what the base's configuration says,
            so that a model that was tuned in another precision is asked in the same one as its base.
        four_bit: quantise the base to 4-bit NormalFloat (Dettmers et al. 2023, arXiv 2305.14314).

    Raises:
        ModelError: weights are missing or not safetensors; they do not fit the tokenizer; or an adapter does not fit
            its base, was made for another one, or changes nothing.
    """
    base = resolve(checkpoint.base, checkpoint.revision)
    adapter = checkpoint.folder if checkpoint.folder and is_adapter(checkpoint.folder) else None
    weights = base if adapter or checkpoint.folder is None else checkpoint.folder
    model = _load_weights(weights, precision if precision != "auto" else precision_of(base), four_bit)
    chat = load_chat(checkpoint)
    _check_vocabulary(model, chat.tokenizer, weights)
    if adapter:
        check_base(adapter, base)
        model = with_adapter(model, adapter)
    return Loaded(model.eval(), chat)


def precision_of(base: Path) -> Precision:
    """The precision in which a base, and what is tuned from it, is asked on this machine.

    Raises:
        ModelError: the folder holds no whole model.
    """
    if not (base / "config.json").is_file():
        raise ModelError(f"{base} has no config.json: name a whole model here, not an adapter.")
    config = json.loads((base / "config.json").read_text(encoding="utf-8"))
    configured = str(config.get("dtype") or config.get("torch_dtype") or "bfloat16")
    return "float32" if best_device() == "cpu" or configured == "float32" else "bfloat16"


def context_of(model: Any) -> int | None:
    """The number of tokens that a model can read and write; None where its configuration does not say."""
    positions = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    return int(positions) if positions else None


def fingerprint_of(loaded: Loaded) -> str:
    """The hash of a model in memory: its weights, configuration, vocabulary and chat template."""
    import torch

    weights = hashlib.sha256()
    for name, tensor in sorted(loaded.model.state_dict().items()):
        weights.update(name.encode())
        weights.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    tokenizer = loaded.tokenizer
    config = loaded.model.config.to_json_string()
    return content_hash([weights.hexdigest(), config, tokenizer.get_vocab(), str(tokenizer.chat_template)])


def _load_weights(folder: Path, precision: Precision, four_bit: bool) -> Any:
    import torch
    from transformers import AutoModelForCausalLM, AutoModelForImageTextToText

    kind: Any = AutoModelForImageTextToText if visual.sees(folder) else AutoModelForCausalLM
    device = best_device()
    dtype = getattr(torch, precision)
    settings: dict[str, Any] = {"quantization_config": _four_bits()} if four_bit else {}
    several_processes = int(os.environ.get("WORLD_SIZE", "1")) > 1
    if device == "cuda" and several_processes and four_bit:
        settings["device_map"] = {"": int(os.environ["LOCAL_RANK"])}
    elif device == "cuda" and not several_processes:
        settings["device_map"] = "auto" if torch.cuda.device_count() > 1 else {"": 0}
    try:
        model: Any = kind.from_pretrained(
            folder, dtype=dtype, use_safetensors=True, trust_remote_code=False, **settings
        )
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise ModelError(f"{folder} cannot be loaded as a causal language model: {error}") from error
    return model if settings.get("device_map") or several_processes else model.to(device)


def _four_bits() -> Any:
    """The quantisation of QLoRA."""
    import torch
    from transformers import BitsAndBytesConfig

    if missing := why_not_four_bit():
        raise ModelError(missing)
    settings: dict[str, Any] = {
        "load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True,
        "bnb_4bit_compute_dtype": torch.bfloat16,
    }  # fmt: skip
    return BitsAndBytesConfig(**settings)  # type: ignore[no-untyped-call]


def why_not_four_bit() -> str:
    """Why this machine cannot quantise to 4 bits; "" if it can."""
    if best_device() != "cuda":
        return "QLoRA needs a CUDA GPU, and this machine has none. Use `method: lora`."
    if importlib.util.find_spec("bitsandbytes") is None:
        return "QLoRA needs bitsandbytes: pip install bitsandbytes"
    return ""


def _check_vocabulary(model: Any, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    rows = model.get_input_embeddings().weight.shape[0]
    if len(tokenizer) > rows:
        raise ModelError(
            f"the tokenizer of {folder} has {len(tokenizer)} tokens, but its model embeds only {rows}: "
            "they do not belong together."
        )


def with_adapter(model: Any, folder: Path, name: str = "default") -> Any:
    """The model with an adapter on it, after a check that all of the adapter is in use and changes the logits.

    Args:
        model: a transformers model, or a peft model that has other adapters already.
        folder: the adapter's.
        name: what the adapter is called in the model; it is the active one afterwards.

    Raises:
        ModelError: it does not fit the model, or changes nothing.
    """
    import torch
    from peft import PeftModel
    from safetensors import safe_open

    try:
        if isinstance(model, PeftModel):
            model.load_adapter(str(folder), name)
            model.set_adapter(name, inference_mode=True)
            adapted = model.eval()
        else:
            adapted = PeftModel.from_pretrained(model, str(folder), name).eval()
    except (ValueError, RuntimeError, OSError) as error:
        raise ModelError(f"the adapter in {folder} does not fit its base: {error}") from error
    with safe_open(folder / "adapter_model.safetensors", "pt") as file:
        names = set(file.keys())
    in_use = {weight.replace(f".{name}.", ".") for weight in adapted.state_dict()}
    if unused := sorted(names - in_use):
        raise ModelError(
            f"{len(unused)} of the {len(names)} weights of the adapter in {folder} have no place in its base, e.g. "
            f"{unused[0]}. It was made for another model."
        )
    probe = torch.arange(min(16, model.config.get_text_config().vocab_size), device=adapted.device)[None]
    with torch.no_grad():
        with_adapter = adapted(probe).logits
        with adapted.disable_adapter():
            without = adapted(probe).logits
    if torch.equal(with_adapter, without):
        raise ModelError(
            f"the adapter in {folder} was loaded, but the model's logits are those of its base: it is not applied."
        )
    return adapted


def describe_chat(chat: Chat) -> dict[str, Any]:
    """How conversations are rendered for a model: what a reader must know to ask it in the same way."""
    return {
        "template": content_hash(str(chat.tokenizer.chat_template)),
        "system_role": chat.system_role,
        "hidden_system": chat.hidden_system,
        "thinking": "always" if chat.begins_thinking else "on" if chat.thinking else "off",
    }
