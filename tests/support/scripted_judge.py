"""A judge that costs something: it asks a server for one digit an answer. And what the server should say."""

from pathlib import Path
from typing import Literal

from pydantic import Field
from support.endpoint_double import says

from holdfast.core.config import File
from holdfast.core.types import Message
from holdfast.judges.base import ModelJudge, Sheet
from holdfast.judges.verdict_parser import ParsedReply
from holdfast.models.samplers.base import Question

OF_THE_SERVER = ("price", "concurrency")


class Scripted(ModelJudge):
    """Asks a server for a digit, and takes it as the score."""

    kind: Literal["scripted"] = "scripted"
    rubric: str = "Say a digit."
    canaries: File | None = Field(Path("pocket:canaries.jsonl"), exclude=True)

    def policies_for(self, policies, categories):
        return {category: policies.get(category, "") for category in categories}

    def sheet(self, case, attempt=0):
        text = "\n".join([case.policy, case.prompt.text, case.answer.text])
        return Sheet(Question(case.prompt.id, (Message("system", self.rubric), Message("user", text)), 4))

    def read(self, reply, sheet):
        score = int(reply.text) if reply.text in ("1", "2", "3", "4", "5") else None
        return ParsedReply(score, "a digit" if score else "no digit")


def scripted(server, **settings):
    """The judge's settings, as a study names them."""
    of_the_server = {name: settings.pop(name) for name in OF_THE_SERVER if name in settings}
    by = {"kind": "server", "base_url": server.url, "model": "judge", **of_the_server}
    return {"kind": "scripted", "by": by, **settings}


def honest(asked, model="judge-1"):
    """The right score of any answer of the pocket model, and of the canaries."""
    tells = any(mark in asked.question for mark in (", then ", "1. ", "Steps: "))
    return says("5" if tells and " stew " not in asked.question else "1", model=model)
