"""The HarmBench classifiers, by their model cards on the Hugging Face Hub; Mazeika et al. 2024, arXiv 2402.04249."""

from __future__ import annotations

from typing import ClassVar, Literal

from holdfast.judges.classifiers.base import LabelError
from holdfast.judges.classifiers.template_file import TemplateFileClassifier
from holdfast.models.samplers.base import Outcome


class HarmBenchClassifier(TemplateFileClassifier):
    """HarmBench's classifier: 5 where it says `Yes`, the answer is an instance of the behaviour asked for; 1 at `No`.

    Its question stands in the card of `cais/HarmBench-Llama-2-13b-cls` (or `cais/HarmBench-Mistral-7b-val-cls`, which
    has its own): copy the one for standard behaviours, with its places `{behavior}` and `{generation}`. Contextual
    prompts of the benchmark `harmbench` hold their context already.
    """

    family: ClassVar[str] = "the HarmBench classifier"
    architectures: ClassVar[tuple[str, ...]] = ("LlamaForCausalLM", "MistralForCausalLM")
    max_new_tokens: ClassVar[int] = 1
    readable: ClassVar[tuple[Outcome, ...]] = ("ok", "empty", "truncated")
    """Its label is one token, which no end of turn follows."""
    request_place: ClassVar[str] = "{behavior}"
    answer_place: ClassVar[str] = "{generation}"
    ending: ClassVar[str] = ""
    copied_from: ClassVar[str] = "the model card of cais/HarmBench-Llama-2-13b-cls (LLAMA2_CLS_PROMPT)"

    kind: Literal["harmbench-classifier"] = "harmbench-classifier"

    def label(self, text: str) -> tuple[bool, str]:
        """`Yes` or `No`."""
        if text not in ("Yes", "No"):
            raise LabelError
        return text == "Yes", text
