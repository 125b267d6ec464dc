"""A judge that costs something: it asks a server for one digit an answer. And what the server should say."""

from typing import Literal

from support.endpoint_double import says

from holdfast.core.types import Verdict
from holdfast.judges.base import Watched
from holdfast.models.endpoint import Endpoint, Request, complete


class Scripted(Watched, Endpoint):
    """Asks a server for a digit, and takes it as the score."""

    kind: Literal["scripted"] = "scripted"
    rubric: str = "Say a digit."

    def request(self, policy, prompt, answer):
        said = "\n".join([policy, prompt.text, answer])
        turns = [{"role": "system", "content": self.rubric}, {"role": "user", "content": said}]
        return Request(prompt.id, "judge", turns, 4)

    def judge(self, policies, pairs, ledger):
        asked = [self.request(policies.get(p.category, ""), p, answer.text) for p, answer in pairs]
        for reply in complete(self, asked, ledger):
            if reply.outcome == "error":
                yield [Verdict(reply.id, "judge_error", None, reply.detail)]
            elif reply.text not in ("1", "2", "3", "4", "5"):
                yield [Verdict(reply.id, "unparsed", None, reply.text, reply.model, usd=reply.usd)]
            else:
                yield [Verdict(reply.id, "scored", int(reply.text), "", reply.model, usd=reply.usd)]

    def worst(self, policies, prompts, answer_tokens):
        return self.most([self.request(policies.get(p.category, ""), p, "x" * 2 * answer_tokens) for p in prompts])


def honest(asked, model="judge-1"):
    """The right score of any answer of the pocket model, and of the canaries."""
    tells = any(mark in asked.question for mark in (", then ", "1. ", "Steps: "))
    return says("5" if tells and " stew " not in asked.question else "1", model=model)
