"""A forward pass for models of Llama's shape that does what generation needs and no more.

transformers' own pass takes most of the time of a small model: on the pocket model 0.94 ms a token, of which 0.3 ms are
arithmetic (one thread; `speed/serving.py` shows what the rest costs a service). Here are the same operations in the
same order, so on a processor in float32 the logits are the same to the last bit: `tests/models/test_steps.py`. Any
other model is asked through its own forward pass.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

Projection = Callable[["torch.Tensor"], "torch.Tensor"]
"""What a linear layer does."""
Store = Callable[[int, "torch.Tensor", "torch.Tensor"], tuple["torch.Tensor", "torch.Tensor"]]
"""Takes a layer's number and its new keys and values, and gives those of all tokens so far."""

SHAPES = ("LlamaForCausalLM", "Qwen2ForCausalLM")
"""Classes of transformers whose pass is known here."""

SEEING, SPEAKING = "LlavaForConditionalGeneration", ("LlamaModel", "Qwen2Model")
"""A class that sees, and those of its language model whose pass is known here."""

FIXED_ROPE = ("default", "linear", "llama3", "yarn")
"""Kinds of positions whose angles do not depend on the length of the text."""


def projection(module: Any, linear: Callable[[Any], Projection] | None = None) -> Projection:
    """What a linear layer does with its LoRA adapters, without the calls around it.

    A layer that is more than that is called as it is.

    Args:
        module: the layer.
        linear: gives the function of a plain layer; `plain` if not given.
    """
    from torch import nn

    if _is_plain(module, nn.Linear):
        return (linear or plain)(module)
    if not _is_vanilla_lora(module):
        return module  # type: ignore[no-any-return]
    base = projection(module.base_layer, linear)
    adapters = [
        (module.lora_A[name].weight, module.lora_B[name].weight, module.scaling[name])
        for name in module.active_adapters
        if name in module.lora_A
    ]
    return partial(_adapted, base, adapters)


def plain(module: Any) -> Projection:
    """A plain linear layer as torch computes it."""
    from torch.nn.functional import linear

    return partial(linear, weight=module.weight, bias=module.bias)


def _adapted(base: Projection, adapters: list[tuple[Any, Any, float]], x: torch.Tensor) -> torch.Tensor:
    from torch.nn.functional import linear

    result = base(x)
    for a, b, scaling in adapters:
        result = result + linear(linear(x, a), b) * scaling
    return result


def _is_vanilla_lora(module: Any) -> bool:
    """Whether a layer of peft is two matrices beside a linear layer, in use and in that layer's precision."""
    kind = type(module)
    if (kind.__module__, kind.__name__) != ("peft.tuners.lora.layer", "Linear") or not _is_plain(module):
        return False
    if module.disable_adapters or module.merged or module.lora_variant:
        return False
    dtype = module.base_layer.weight.dtype
    matrices = [matrix for each in (module.lora_A, module.lora_B) for matrix in each.values()]
    return all(matrix.bias is None and matrix.weight.dtype == dtype for matrix in matrices)


@dataclass(frozen=True)
class Speaking:
    """The parts that speak of a model that sees, named as in a language model."""

    config: Any
    model: Any
    lm_head: Any
    dtype: torch.dtype
    device: torch.device
    never: tuple[int, ...] = ()
    """Tokens that it never writes."""


def _speaking(model: Any) -> Any:
    """A language model itself; of a model that sees, the parts that speak where it is shown no picture."""
    if type(model).__name__ != SEEING or not (_is_plain(model) and _is_plain(model.model)):
        return model
    never = tuple(model.generation_config.suppress_tokens or ())
    config, body = model.config.get_text_config(), model.model.language_model
    return Speaking(config, body, model.lm_head, model.dtype, model.device, never)


class Lean:
    """The forward pass. Make one with `lean`, which says where it fits.

    Args:
        model: the transformers model, without peft's wrapper around it.
        project: gives the function of a linear layer.
    """

    def __init__(self, model: Any, project: Callable[[Any], Projection] = projection) -> None:
        self._table: tuple[torch.Tensor, torch.Tensor] | None = None
        self.take(model, project)

    def take(self, model: Any, project: Callable[[Any], Projection]) -> None:
        """Take the layers of a model, again after its adapters changed. Memories that are in use go on with them."""
        model = _speaking(model)
        config, body = model.config, model.model
        self._never = list(model.never) if isinstance(model, Speaking) else []
        self.heads, self.key_heads = config.num_attention_heads, config.num_key_value_heads
        self.width = body.layers[0].self_attn.head_dim
        self.pad = config.pad_token_id or 0
        self.dtype = model.dtype
        self._embedding, self._rotary = body.embed_tokens.weight, body.rotary_emb
        self._norm, self._head = partial(_normed, body.norm), project(model.lm_head)
        self._layers = [_Layer(layer, project) for layer in body.layers]

    @property
    def n_layers(self) -> int:
        """How many layers keep keys and values."""
        return len(self._layers)

    def __call__(
        self, ids: torch.Tensor, positions: torch.Tensor, last: int, store: Store, mask: torch.Tensor | None
    ) -> torch.Tensor:
        """The logits of each row's next token, of shape [rows, vocabulary].

        Args:
            ids: of shape [rows, tokens].
            positions: of the tokens, of the same shape.
            last: the highest of them.
            store: where keys and values are kept.
            mask: what is added to attention's scores; None where every token sees all before it.
        """
        from torch.nn.functional import embedding

        x = embedding(ids, self._embedding)
        cosines, sines = (embedding(positions, table)[:, None] for table in self._angles(last + 1))
        for number, layer in enumerate(self._layers):
            x = x + layer.attend(self, x, (cosines, sines), partial(store, number), mask)
            hidden = layer.norm_after(x)
            x = x + layer.down(layer.activation(layer.gate(hidden)) * layer.up(hidden))
        logits = self._head(self._norm(x[:, -1:]))[:, 0]
        if self._never:
            logits[:, self._never] = float("-inf")
        return logits

    def _angles(self, n: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Cosine and sine of each of the first positions, of shape [positions, width of a head]."""
        import torch

        if self._table is None or len(self._table[0]) < n:
            positions = torch.arange(max(256, 2 * n))[None]
            cosines, sines = self._rotary(torch.zeros(1, dtype=self.dtype), position_ids=positions)
            half = self.width // 2
            self._table = (cosines[0], torch.cat([-sines[0, :, :half], sines[0, :, half:]], -1))
        return self._table


class _Layer:
    """One layer's functions."""

    def __init__(self, layer: Any, project: Callable[[Any], Projection]) -> None:
        attention, mlp = layer.self_attn, layer.mlp
        self.norm_before = partial(_normed, layer.input_layernorm)
        self.norm_after = partial(_normed, layer.post_attention_layernorm)
        self.q, self.k, self.v, self.o = (
            project(each) for each in (attention.q_proj, attention.k_proj, attention.v_proj, attention.o_proj)
        )
        self.gate, self.up, self.down = (project(each) for each in (mlp.gate_proj, mlp.up_proj, mlp.down_proj))
        self.activation = mlp.act_fn
        self.scaling = attention.scaling

    def attend(
        self, of: Lean, x: torch.Tensor, angles: tuple[torch.Tensor, torch.Tensor],
        store: Callable[[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]], mask: torch.Tensor | None,
    ) -> torch.Tensor:  # fmt: skip
        """What attention adds to the hidden states."""
        from torch.nn.functional import scaled_dot_product_attention

        rows, tokens, _ = x.shape
        hidden = self.norm_before(x)
        q, k, v = (
            project(hidden).view(rows, tokens, heads, of.width).transpose(1, 2)
            for project, heads in ((self.q, of.heads), (self.k, of.key_heads), (self.v, of.key_heads))
        )
        q, k = _turned(q, *angles), _turned(k, *angles)
        k, v = store(k, v)
        shared = of.heads // of.key_heads
        if tokens == 1:
            q = q.reshape(rows, of.key_heads, shared, of.width)
        elif shared > 1:
            k, v = k.repeat_interleave(shared, 1), v.repeat_interleave(shared, 1)
        attended = scaled_dot_product_attention(
            q, k, v, attn_mask=mask, is_causal=mask is None and tokens > 1, scale=self.scaling
        )
        if tokens > 1:
            attended = attended.transpose(1, 2)
        return self.o(attended.reshape(rows, tokens, of.heads * of.width))


def lean(model: Any, project: Callable[[Any], Projection] = projection) -> Lean | None:
    """The lean pass of a transformers model, or of one with LoRA adapters; None where it does not fit.

    It fits models of known shape on a processor, none of whose layers somebody put a hook on or replaced. That of a
    model that sees is for text alone.
    """
    if hasattr(model, "peft_config"):
        if any(config.peft_type != "LORA" or _special(config) for config in model.peft_config.values()):
            return None
        model = model.get_base_model()
    if not type(model).__module__.startswith("transformers."):
        return None
    speaking = _speaking(model)
    known = type(speaking.model).__name__ in SPEAKING if isinstance(speaking, Speaking) else _known(model)
    return Lean(model, project) if known and _fits(speaking) else None


def _known(model: Any) -> bool:
    """Whether a model without eyes is of a shape that is known here, and called as it is."""
    return type(model).__name__ in SHAPES and _is_plain(model)


def _special(config: Any) -> bool:
    """Whether a LoRA adapter needs the token ids, which its layers do not get here."""
    return bool(getattr(config, "alora_invocation_tokens", None))


def _fits(model: Any) -> bool:
    from torch import nn

    config, body = model.config, model.model
    rope = (getattr(config, "rope_parameters", None) or {}).get("rope_type", "default")
    if model.device.type != "cpu" or config._attn_implementation != "sdpa" or rope not in FIXED_ROPE:
        return False
    if set(getattr(config, "layer_types", None) or {"full_attention"}) != {"full_attention"}:
        return False
    if len(body.layers) != config.num_hidden_layers or not _is_plain(body.embed_tokens, nn.Embedding):
        return False
    parts = [body, body.norm, body.rotary_emb]
    for layer in body.layers:
        parts += [layer, layer.self_attn, layer.mlp, layer.input_layernorm, layer.post_attention_layernorm]
    return all(type(part).__module__ == type(body).__module__ and _is_plain(part) for part in parts)


def _is_plain(module: Any, kind: type | None = None) -> bool:
    """Whether a layer is of a class itself, and nobody put a hook on it or replaced its forward pass."""
    changed = module._forward_hooks or module._forward_pre_hooks or "forward" in vars(module)
    return not changed and (kind is None or type(module) is kind)


def _normed(norm: Any, x: torch.Tensor) -> torch.Tensor:
    """Root mean square normalisation, in float32."""
    from torch.nn.functional import rms_norm

    weight: torch.Tensor = norm.weight
    if x.dtype == weight.dtype and x.element_size() == 4:
        return rms_norm(x, weight.shape, weight, norm.variance_epsilon)
    normed: torch.Tensor = norm(x)
    return normed


def _turned(x: torch.Tensor, cosines: torch.Tensor, sines: torch.Tensor) -> torch.Tensor:
    """Queries or keys turned by their positions. The sines of the first half are negative already."""
    import torch

    half = x.shape[-1] // 2
    return x * cosines + torch.cat((x[..., half:], x[..., :half]), -1) * sines
