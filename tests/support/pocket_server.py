"""A provider that really tunes the pocket model, as a server with our own local back end would."""

from pathlib import Path

from support.endpoint_double import says
from support.tuning_double import SUCCEEDED, TuningDouble

from holdfast.core.budget import NoBudget
from holdfast.core.types import Checkpoint, Example, Message
from holdfast.models import cached
from holdfast.models.samplers.base import Question
from holdfast.models.samplers.local import Local
from holdfast.tuning.local import LocalTuner


class PocketServer(TuningDouble):
    """Its base is called `base`. Its learning rate is the local tuner's own times the multiplier."""

    def __init__(self, folder: Path):
        self.folder, self.checkpoints = folder, {"base": Checkpoint("pocket:aligned")}
        super().__init__(fate=self.tuned, behave=self.answer_with, looks=0)

    def tuned(self, job):
        wanted = job["hyperparameters"]
        tuner = LocalTuner(
            epochs=wanted["n_epochs"], batch_size=wanted["batch_size"],
            learning_rate=LocalTuner().learning_rate * wanted["learning_rate_multiplier"],
        )  # fmt: skip
        rows = [
            Example(tuple(Message(**turn) for turn in row["messages"]), f"row:{n}")
            for n, row in enumerate(self.rows(job["training_file"]))
        ]
        base, folder, epochs = self.checkpoints["base"], self.folder / job["id"], wanted["n_epochs"]
        made = tuner.tune(base, rows, job["seed"], [epochs], folder, lambda step: None)
        self.checkpoints[f"ft:{job['model']}:{job['suffix']}:{job['id']}"] = made[epochs].checkpoint
        return SUCCEEDED

    def answer_with(self, asked):
        with self.guard:
            loaded = cached.load(self.checkpoints[asked.model])
            turns = tuple(Message(**turn) for turn in asked.body["messages"])
            question = Question("0", turns, asked.body["max_tokens"])
            [reply] = Local.of(loaded, temperature=0.0, top_p=1.0, batch_size=1).ask([question], NoBudget(), 0)
        return says(
            reply.text, "length" if reply.outcome == "truncated" else "stop", usage=(reply.prompt_tokens, reply.tokens)
        )
