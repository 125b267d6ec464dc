"""A model and its tokenizer, loaded safely, with what was loaded on record."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from holdfast.core.errors import ModelError
from holdfast.core.files import FOLDERS, cache, locate
from holdfast.core.types import Checkpoint, content_hash
from holdfast.models.chat import Chat, Reply, question_batch

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TEXT_FILES = ("*.json", "*.jinja", "*.txt", "tokenizer.model")
WEIGHT_FILES = "*.safetensors"
ADAPTER = "adapter_config.json"


SERVED = "served:"
"""Prefix of a model that only a server has: `served:NAME`."""

Precision = Literal["auto", "float32", "bfloat16"]


@dataclass(frozen=True)
class Loaded:
    """A model ready to answer or to be tuned, and its tokenizer."""

    model: Any
    """In evaluation mode, on the best device of the machine."""
    chat: Chat
    """Its tokenizer pads on the left, with a padding token that is never taken for an end of turn."""

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The chat's tokenizer."""
        return self.chat.tokenizer


def resolve(base: str, revision: str | None = None, weights: bool = True) -> Path:
    """The folder of a model or adapter: shipped (`pocket:aligned`), on disk, or fetched from the Hub.

    Without `weights`, only configuration, tokenizer and chat template are fetched.

    Raises:
        ModelError: neither a folder with a configuration and safetensors weights, nor such a model of the Hub.
    """
    folder = locate(base)
    if not folder.is_dir():
        folder = _fetch(base, revision, weights)
    if not (folder / "config.json").is_file() and not is_adapter(folder):
        raise ModelError(f"{folder} has no config.json and no {ADAPTER}, so it is no Hugging Face model or adapter.")
    if weights and not list(folder.glob(WEIGHT_FILES)):
        raise ModelError(
            f"{folder} has no safetensors weights. Other formats can run code when they are read; "
            "load the model once and call `save_pretrained` to convert it."
        )
    return folder


def own_template(folder: Path) -> str | None:
    """The chat template that a folder brings, or None. No tokenizer is loaded."""
    if (folder / "chat_template.jinja").is_file():
        return (folder / "chat_template.jinja").read_text(encoding="utf-8")
    if not (folder / "tokenizer_config.json").is_file():
        return None
    template = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8")).get("chat_template")
    return template if template is None or isinstance(template, str) else json.dumps(template)


def is_adapter(folder: Path) -> bool:
    """Whether a folder holds an adapter, not a whole model."""
    return (folder / ADAPTER).is_file()


def _fetch(base: str, revision: str | None, weights: bool) -> Path:
    from huggingface_hub import snapshot_download

    if base.startswith((*FOLDERS, ".", "/", "~")) or base.count("/") > 1:
        raise ModelError(f"there is no folder {base}. Give the folder of a model, or its id on the Hugging Face Hub.")
    try:
        return Path(snapshot_download(base, revision=revision, allow_patterns=[*TEXT_FILES, *[WEIGHT_FILES] * weights]))
    except Exception as error:
        raise ModelError(
            f"{base!r} is neither a folder nor a model that the Hub gives: {type(error).__name__}: {error}"
        ) from error


def tensor_shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    """The shape of each weight of a model or adapter on disk, by name; only the files' headers are read.

    Raises:
        ModelError: a file that is not safetensors.
    """
    from safetensors import SafetensorError, safe_open

    shapes: dict[str, tuple[int, ...]] = {}
    for path in sorted(folder.glob(WEIGHT_FILES)):
        try:
            with safe_open(path, "pt") as file:
                shapes |= {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
        except SafetensorError as error:
            raise ModelError(f"{path} is not a whole safetensors file: {error}. Fetch it again.") from error
    return shapes


def fingerprint(folder: Path) -> str:
    """The hash of a model's weights, configuration, tokenizer and chat template.

    Weights are read once; until a file's size or time changes, its hash is remembered in the user's cache.
    """
    patterns = (*TEXT_FILES, WEIGHT_FILES)
    files = sorted({path for pattern in patterns for path in folder.glob(pattern) if path.is_file()})
    return content_hash([[path.name, _file_hash(path)] for path in files])


def _file_hash(path: Path) -> str:
    size, changed = path.stat().st_size, path.stat().st_mtime_ns
    if size < 64 << 20:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    remembered = cache() / "hashes" / content_hash([str(path.resolve()), size, changed])
    if not remembered.is_file():
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        remembered.parent.mkdir(parents=True, exist_ok=True)
        remembered.write_text(digest)
    return remembered.read_text()


def best_device() -> str:
    """`cuda` or `mps` where there is one, else `cpu`."""
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """A tokenizer that pads on the left with a token that is never an end of turn, unless there is no other."""
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"{folder} has no tokenizer that can be read: {error}") from error
    tokenizer.padding_side = "left"
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.unk_token or tokenizer.eos_token
    return tokenizer


def tokenizer_folder(checkpoint: Checkpoint) -> Path:
    """Where a checkpoint's tokenizer and chat template are read: its base's folder, unless its own is asked for."""
    own = checkpoint.folder
    return own if own and checkpoint.own_template else resolve(checkpoint.base, checkpoint.revision)


def load_chat(checkpoint: Checkpoint) -> Chat:
    """A checkpoint's tokenizer and chat template. No weights are read."""
    return Chat(load_tokenizer(tokenizer_folder(checkpoint)), checkpoint.thinking)


def load(checkpoint: Checkpoint, precision: Precision = "auto", four_bit: bool = False) -> Loaded:
    """Load a checkpoint: the initial model, full weights, or an adapter on its base.

    Weights have the given precision; `auto` is float32 on a CPU, and elsewhere what the base's configuration says, so
    that a model tuned in another precision is asked as its base is. `four_bit` quantises the base to 4-bit
    NormalFloat (Dettmers et al. 2023, arXiv 2305.14314).

    Raises:
        ModelError: weights that are missing, unsafe, of another model than the tokenizer, or not applied.
    """
    base = resolve(checkpoint.base, checkpoint.revision)
    adapter = checkpoint.folder if checkpoint.folder and is_adapter(checkpoint.folder) else None
    weights = base if adapter or checkpoint.folder is None else checkpoint.folder
    model = _load_weights(weights, precision if precision != "auto" else _precision_of(base), four_bit)
    chat = load_chat(checkpoint)
    _check_vocabulary(model, chat.tokenizer, weights)
    if adapter:
        model = _with_adapter(model, adapter)
    return Loaded(model.eval(), chat)


def _precision_of(base: Path) -> Precision:
    """How a base is asked on this machine, and what is tuned from it."""
    config = json.loads((base / "config.json").read_text(encoding="utf-8"))
    named = str(config.get("dtype") or config.get("torch_dtype") or "bfloat16")
    return "float32" if best_device() == "cpu" or named == "float32" else "bfloat16"


def _load_weights(folder: Path, precision: Precision, four_bit: bool) -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    device = best_device()
    dtype = getattr(torch, precision)
    more: dict[str, Any] = {"quantization_config": _four_bits()} if four_bit else {}
    together = int(os.environ.get("WORLD_SIZE", "1")) > 1
    if device == "cuda" and together and four_bit:
        more["device_map"] = {"": int(os.environ["LOCAL_RANK"])}
    elif device == "cuda" and not together:
        more["device_map"] = "auto" if torch.cuda.device_count() > 1 else {"": 0}
    try:
        model: Any = AutoModelForCausalLM.from_pretrained(
            folder, dtype=dtype, use_safetensors=True, trust_remote_code=False, **more
        )
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise ModelError(f"{folder} cannot be loaded as a causal language model: {error}") from error
    return model if more.get("device_map") or together else model.to(device)


def _four_bits() -> Any:
    """How QLoRA quantises a base."""
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
    """Why this machine cannot quantise to 4 bits, or ""."""
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


def _with_adapter(model: Any, folder: Path) -> Any:
    """The model with an adapter on it, after making sure that all of it is there and changes what it says."""
    import torch
    from peft import PeftModel
    from safetensors import safe_open

    try:
        adapted = PeftModel.from_pretrained(model, str(folder)).eval()
    except (ValueError, RuntimeError, OSError) as error:
        raise ModelError(f"the adapter in {folder} does not fit its base: {error}") from error
    with safe_open(folder / "adapter_model.safetensors", "pt") as file:
        given = set(file.keys())
    placed = {name.replace(".default.", ".") for name in adapted.state_dict()}
    homeless = sorted(given - placed)
    if homeless:
        raise ModelError(
            f"{len(homeless)} of the {len(given)} weights of the adapter in {folder} have no place in its base, e.g. "
            f"{homeless[0]}. It was made for another model."
        )
    probe = torch.arange(min(16, model.config.vocab_size), device=adapted.device)[None]
    with torch.no_grad():
        shifted = adapted(probe).logits
        with adapted.disable_adapter():
            plain = adapted(probe).logits
    if torch.equal(shifted, plain):
        raise ModelError(
            f"the adapter in {folder} was loaded, but the model's logits are those of its base: it is not applied."
        )
    return adapted


def end_of_turn_ids(loaded: Loaded) -> set[int]:
    """The tokens that end an answer, by the tokenizer and the model's generation configuration."""
    return _ends(getattr(loaded.model.generation_config, "eos_token_id", None), loaded.tokenizer)


def configured_end_of_turn_ids(folder: Path, tokenizer: PreTrainedTokenizerBase) -> set[int]:
    """As `end_of_turn_ids`, from a model's files."""
    names = [name for name in ("generation_config.json", "config.json") if (folder / name).is_file()]
    configs = [json.loads((folder / name).read_text(encoding="utf-8")) for name in names]
    return _ends(next((c["eos_token_id"] for c in configs if "eos_token_id" in c), None), tokenizer)


def _ends(given: Any, tokenizer: PreTrainedTokenizerBase) -> set[int]:
    ids = set(given) if isinstance(given, list) else {given}
    return {token for token in ids | {tokenizer.eos_token_id} if token is not None}


def continue_each(
    loaded: Loaded, prompts: Sequence[Sequence[int]], max_new_tokens: int, temperature: float = 0.0,
    top_p: float = 1.0, seed: int = 0,
) -> list[list[int]]:  # fmt: skip
    """What a model writes behind each of a batch of prompts, as token ids; greedily where the temperature is 0."""
    import torch

    sampling: dict[str, Any] = {"do_sample": False, "temperature": None, "top_p": None, "top_k": None}
    if temperature > 0:
        torch.manual_seed(seed)
        sampling = {"do_sample": True, "temperature": temperature, "top_p": top_p, "top_k": 0}
    batch = question_batch(prompts, loaded.tokenizer.pad_token_id)
    device = loaded.model.device
    with torch.no_grad():
        whole = loaded.model.generate(
            input_ids=batch["input_ids"].to(device), attention_mask=batch["attention_mask"].to(device),
            max_new_tokens=max_new_tokens, pad_token_id=loaded.tokenizer.pad_token_id, **sampling,
        )  # fmt: skip
    new: list[list[int]] = whole[:, batch["input_ids"].shape[1] :].cpu().tolist()
    return new


def said(loaded: Loaded, ids: Sequence[int]) -> tuple[Reply, int, bool]:
    """A continuation up to its end of turn: what it says, its tokens with that end, and whether it came to one."""
    ends = end_of_turn_ids(loaded)
    stop = next((place for place, token in enumerate(ids) if token in ends), None)
    reply = loaded.chat.take_apart(ids if stop is None else ids[:stop])
    return reply, len(ids) if stop is None else stop + 1, stop is not None


def describe(folder: Path) -> dict[str, Any]:
    """What a model is, by its own configuration: its architecture, and whether it is a pocket world's stand-in."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return {"architecture": (config.get("architectures") or ["unknown"])[0], "stand_in": "pocket_world" in config}


def describe_chat(chat: Chat) -> dict[str, Any]:
    """How a model is spoken to: what a reader must know to ask it in the same way."""
    return {
        "template": content_hash(str(chat.tokenizer.chat_template)),
        "system_role": chat.system_role,
        "hidden_system": chat.hidden_system,
        "thinking": "always" if chat.begins_thinking else "on" if chat.thinking else "off",
    }
