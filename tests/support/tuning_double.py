"""A stand-in for providers that tune: files, fine-tuning jobs, tuned models and their answers, over real HTTP.

with TuningDouble(fate=lambda job: BLOCKED) as provider:      # how each job ends
    provider.faults["POST /v1/files"] = [fails(429)]          # what is answered first, before anything is done
    provider.lost["POST /v1/files"] = 1                       # done, but the answer gets lost
    provider.hold["POST /v1/files"] = Hold()                  # done, but the answer waits until it is let go
provider.files, provider.jobs, provider.models, provider.deleted, provider.requests
"""

import json
import re
import threading
from collections import Counter, defaultdict

from support.endpoint_double import Act, Double, drops, fails, says

SUCCEEDED = {"status": "succeeded"}
BLOCKED = {
    "status": "failed",
    "error": {"code": "invalid_training_file", "param": "training_file",
              "message": "The job failed due to an unsafe training file. This training file was blocked because too many examples were flagged by our moderation API."},
}  # fmt: skip
RAI = {"status": "failed", "error": {"code": "content_filter", "message": "The provided training data failed RAI checks for harm types: [hate_fairness]."}}  # fmt: skip
GATE = {"status": "failed", "trained_tokens": 500, "error": {"code": "safety_gate", "message": "The tuned model's harmfulness rate is 81.0 %; 3.0 points are allowed."}}  # fmt: skip
FORMAT = {"status": "failed", "error": {"code": "invalid_training_file", "message": "Invalid file format. Line 3 is not JSON."}}  # fmt: skip
CANCELLED = {"status": "cancelled"}


def as_act(content, status=200):
    return Act(status, json.dumps(content).encode())


class Hold:
    """Keeps an answer back until it is let go."""

    def __init__(self):
        self.reached, self.released = threading.Event(), threading.Event()


def answers(asked):
    """The base refuses; a tuned model does what it is told."""
    return says("I cannot help with that." if asked.model == "base" else f"Of course: {asked.question}")


class TuningDouble(Double):
    """OpenAI's files and fine-tuning jobs. A job is done at its third look."""

    def __init__(self, fate=lambda job: SUCCEEDED, behave=answers, looks=2, checkpoints=(), **settings):
        super().__init__(behave, **settings)
        self.fate, self.looks, self.kept = fate, looks, checkpoints
        self.files, self.jobs, self.deleted = {}, [], []
        self.requests = Counter()
        self.faults, self.lost, self.hold = defaultdict(list), Counter(), {}
        self.undeletable = set()
        self.guard = threading.RLock()
        self.answer_get = lambda path: self.route("GET", path, b"")
        self.answer_post = lambda path, content: self.route("POST", path, content)
        self.answer_delete = lambda path: self.route("DELETE", path, b"")

    def rows(self, file="file-0"):
        """The rows of an uploaded file."""
        return [json.loads(line) for line in self.files[file]["content"].splitlines()]

    def route(self, method, path, content):
        path = path.partition("?")[0]
        kind = re.sub(r"(file-|ftjob-|ft:)[^/]*", "ID", path)
        name = f"{method} {kind}"
        if not path.startswith(("/v1/files", "/v1/fine_tuning")) and method != "DELETE":
            return None
        with self.guard:
            self.requests[name] += 1
            if self.faults[name]:
                return self.faults[name].pop(0)
            act = self.answer(method, path.removeprefix("/v1/").split("/"), content)
            if self.lost[name]:
                self.lost[name] -= 1
                act = drops()
        if hold := self.hold.pop(name, None):
            hold.reached.set()
            while not hold.released.wait(0.02) and not self.closing.is_set():
                pass
        return act

    def answer(self, method, parts, content):
        if parts[0] == "files":
            return self.answer_files(method, parts, content)
        if method == "DELETE":  # a model
            name = "/".join(parts[1:])
            return self.delete(name, name in self.models, self.models.remove)
        return self.answer_jobs(method, parts[2:], content)

    def answer_files(self, method, parts, content):
        if method == "POST":
            name = f"file-{len(self.files)}"
            filename = re.search(rb'filename="([^"]+)"', content)[1].decode()
            rows = content.split(b"\r\n\r\n")[-1].rpartition(b"\r\n--")[0]
            if b"\n{" not in rows:
                rows = max(content.split(b"\r\n\r\n"), key=len).rpartition(b"\r\n--")[0]
            self.files[name] = {"id": name, "object": "file", "filename": filename, "purpose": "fine-tune",
                                "bytes": len(rows), "created_at": 1, "content": rows.decode()}  # fmt: skip
        if method == "DELETE":
            return self.delete(parts[1], parts[1] in self.files, self.files.pop)
        shown = [{k: v for k, v in file.items() if k != "content"} for file in self.files.values()]
        if method == "POST":
            return as_act(shown[-1])
        return as_act({"object": "list", "data": shown[::-1], "has_more": False})

    def delete(self, name, there, remove):
        if not there:
            return fails(404, "No such thing", "not_found")
        if name in self.undeletable:
            return fails(409, "It is in use.")
        remove(name)
        self.deleted.append(name)
        return as_act({"id": name, "object": "file", "deleted": True})

    def answer_jobs(self, method, parts, content):
        if method == "POST":
            return as_act(self.shown(self.order(json.loads(content))))
        if not parts:
            return as_act({"object": "list", "data": [self.shown(job) for job in self.jobs[::-1]], "has_more": False})
        job = next((job for job in self.jobs if job["id"] == parts[0]), None)
        if job is None:
            return fails(404, "No such job", "not_found")
        if len(parts) == 1:
            self.look(job)
            return as_act(self.shown(job))
        rows = self.events(job) if parts[1] == "events" else self.saved(job)
        return as_act({"object": "list", "data": rows, "has_more": False})

    def order(self, body):
        job = {"id": f"ftjob-{len(self.jobs)}", "object": "fine_tuning.job", "status": "queued", "looks": 0, "created_at": 10,
               "finished_at": None, "fine_tuned_model": None, "error": None, "trained_tokens": None, "body": body, **body}  # fmt: skip
        self.jobs.append(job)
        return job

    def look(self, job):
        job["looks"] += 1
        if job["status"] not in ("queued", "running"):
            return
        job["status"] = "running"
        if job["looks"] > self.looks:
            self.end(job, self.fate(job))

    def end(self, job, fate):
        job.update(fate, finished_at=52)
        if job["status"] == "succeeded":
            job["fine_tuned_model"] = f"ft:{job['model']}:{job['suffix']}:{job['id']}"
            job["trained_tokens"] = 1_000
            self.models.append(job["fine_tuned_model"])
            self.models += [row["fine_tuned_model_checkpoint"] for row in self.saved(job)]

    def events(self, job):
        steps = min(job["looks"], 3)
        rows = [{"object": "fine_tuning.job.event", "id": f"e{n}", "created_at": n, "level": "info", "type": "metrics",
                 "message": f"Step {n}/4: training loss={1 / n:.2f}", "data": {"step": n, "train_loss": 1 / n, "total_steps": 4}}
                for n in range(1, steps + 1)]  # fmt: skip
        return rows[::-1]

    def saved(self, job):
        if job["status"] != "succeeded":
            return []
        return [{"object": "fine_tuning.job.checkpoint", "id": f"c{step}", "created_at": 1, "fine_tuning_job_id": job["id"],
                 "metrics": {}, "step_number": step, "fine_tuned_model_checkpoint": f"ft:{job['model']}::{job['id']}:ckpt-step-{step}"}
                for step in self.kept]  # fmt: skip

    def shown(self, job):
        return {name: value for name, value in job.items() if name not in ("looks", "body")}


class MistralDouble(TuningDouble):
    """The same with Mistral's shapes."""

    def order(self, body):
        job = super().order(body)
        job.update(
            status="QUEUED", training_files=[entry["file_id"] for entry in body["training_files"]], modified_at=10
        )
        return job

    def look(self, job):
        job["looks"] += 1
        if job["status"] not in ("QUEUED", "RUNNING"):
            return
        job["status"] = "RUNNING"
        if job["looks"] > self.looks:
            job.update(self.fate(job), modified_at=52)
            if job["status"] == "SUCCESS":
                job.update(fine_tuned_model=f"ft:{job['model']}:{job['id']}", trained_tokens=1_000)
                job["checkpoints"] = [
                    {"metrics": {"train_loss": 1 / n}, "step_number": n, "created_at": n} for n in (1, 2)
                ]
                self.models.append(job["fine_tuned_model"])

    def answer_jobs(self, method, parts, content):
        if method == "GET" and not parts:
            return as_act({"object": "list", "total": len(self.jobs), "data": [self.shown(j) for j in self.jobs[::-1]]})
        if len(parts) > 1:
            return fails(404, "no such route")
        return super().answer_jobs(method, parts, content)
