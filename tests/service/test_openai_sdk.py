"""The unmodified openai SDK against the service, over real HTTP."""

import io
import json
import time

import openai
import pytest
from support.service_double import DATABASES, ROWS, serving, url_of
from support.waiting import PATIENCE, wait_until

from holdfast.core import jsonl
from holdfast.service.database import Job


@pytest.fixture(scope="module", params=DATABASES)
def served(request, tmp_path_factory):
    with serving(tmp_path_factory.mktemp("service"), url=url_of(request.param)) as served:
        yield served


@pytest.fixture
def client(served):
    return served.client("tune", "ask")


def upload(client, content=ROWS, purpose="fine-tune", name="rows.jsonl", **more):
    return client.files.create(file=(name, content), purpose=purpose, **more)


def new_job(client, **settings):
    return client.fine_tuning.jobs.create(model="pocket", training_file=upload(client).id, **settings)


def test_files_are_uploaded_listed_read_and_deleted(client):
    files = [upload(client, name=f"rows-{n}.jsonl") for n in range(3)]
    assert files[0].filename == "rows-0.jsonl" and files[0].bytes == len(ROWS) and files[0].purpose == "fine-tune"
    assert client.files.retrieve(files[0].id) == files[0]
    assert client.files.content(files[0].id).read() == ROWS
    assert [file.id for file in client.files.list(limit=2)] == [file.id for file in reversed(files)]  # over two pages
    assert [file.id for file in client.files.list(order="asc", limit=1)] == [file.id for file in files]
    assert list(client.files.list(purpose="batch")) == []
    assert client.files.wait_for_processing(files[0].id).status == "processed"
    assert client.files.delete(files[0].id).deleted
    with pytest.raises(openai.NotFoundError):
        client.files.content(files[0].id)


def test_a_job_is_made_with_its_settings_and_found_by_its_metadata(client):
    method = {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 3, "learning_rate_multiplier": 0.5}}}
    job = new_job(client, suffix="mine", seed=7, method=method, metadata={"condition": "abc"})
    assert job.status == "validating_files" and job.seed == 7 and job.metadata == {"condition": "abc"}
    assert job.method.supervised.hyperparameters.n_epochs == 3
    assert job.hyperparameters.batch_size == "auto"
    assert client.fine_tuning.jobs.retrieve(job.id) == job
    new_job(client, metadata={"condition": "xyz"})
    assert [found.id for found in client.fine_tuning.jobs.list(metadata={"condition": "abc"})] == [job.id]
    assert len(list(client.fine_tuning.jobs.list(limit=1))) == 2


def test_events_and_checkpoints_come_in_pages_newest_first(client, served):
    job = new_job(client)
    served.make_model(job.id)
    events = list(client.fine_tuning.jobs.list_events(job.id, limit=1))
    assert [event.message for event in events] == ["Step 2", "Step 1", f"Created fine-tuning job: {job.id}"]
    assert events[0].type == "metrics" and events[0].data["train_loss"] == 0.5
    first = client.fine_tuning.jobs.list_events(job.id, limit=1)
    assert first.has_more and first.data == events[:1]
    checkpoints = list(client.fine_tuning.jobs.checkpoints.list(job.id))
    assert [checkpoint.step_number for checkpoint in checkpoints] == [2, 1]
    assert checkpoints[0].metrics.train_loss == 0.5


def test_a_job_that_no_worker_has_is_paused_resumed_and_cancelled_at_once(client):
    job = new_job(client)
    assert client.fine_tuning.jobs.pause(job.id).status == "paused"
    assert client.fine_tuning.jobs.pause(job.id).status == "paused"
    assert client.fine_tuning.jobs.resume(job.id).status == "queued"
    with pytest.raises(openai.BadRequestError, match="not paused"):
        client.fine_tuning.jobs.resume(job.id)
    assert client.fine_tuning.jobs.cancel(job.id).status == "cancelled"
    with pytest.raises(openai.BadRequestError, match="already cancelled"):
        client.fine_tuning.jobs.cancel(job.id)


def test_a_job_that_a_worker_has_is_asked_to_pause_and_ends_at_once_when_cancelled(client, served):
    job = new_job(client)
    with served.service.database.writing() as session:
        row = session.query(Job).where(Job.id == job.id).one()
        row.status, row.worker, row.lease_until = "running", "a worker", time.time() + 60
    assert client.fine_tuning.jobs.pause(job.id).status == "running"
    with served.service.database.reading() as session:
        assert session.query(Job).where(Job.id == job.id).one().wanted == "pause"
    assert client.fine_tuning.jobs.resume(job.id).status == "running"
    assert client.fine_tuning.jobs.cancel(job.id).status == "cancelled"


@pytest.mark.long
def test_chat_is_answered_whole_and_as_a_stream(client, served):
    asked = {"model": "pocket", "messages": [{"role": "user", "content": "Where is it?"}]}
    whole = client.chat.completions.create(**asked)
    assert whole.choices[0].message.content == "You asked: Where is it?" and whole.choices[0].finish_reason == "stop"
    assert (whole.usage.prompt_tokens, whole.usage.completion_tokens, whole.usage.total_tokens) == (3, 5, 8)
    pieces = list(client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True}))
    assert (
        "".join(piece.choices[0].delta.content or "" for piece in pieces if piece.choices) == "You asked: Where is it?"
    )
    assert len(pieces) == 5 + 3 and pieces[-1].usage.total_tokens == 8 and pieces[-2].choices[0].finish_reason == "stop"
    cut = client.chat.completions.create(**asked, max_completion_tokens=2, temperature=0, stop=["x"], seed=3)
    assert cut.choices[0].message.content == "You asked:" and cut.choices[0].finish_reason == "length"
    _, _, params = served.engine.asked[-1]
    assert (params.max_tokens, params.temperature, params.stop, params.seed) == (2, 0, ("x",), 3)


def test_message_parts_and_the_developer_role_reach_the_engine_as_text(client, served):
    parts = [{"type": "text", "text": "Where "}, {"type": "text", "text": "now?"}]
    turns = [{"role": "developer", "content": "Be brief."}, {"role": "user", "content": parts}]
    client.chat.completions.create(model="pocket", messages=turns)
    _, messages, _ = served.engine.asked[-1]
    assert [(turn.role, turn.content) for turn in messages] == [("system", "Be brief."), ("user", "Where now?")]


def test_a_stream_that_its_client_leaves_stops_the_engine(client, served):
    served.engine.pause, served.engine.script = 0.02, lambda question: "word " * 500
    try:
        asked = [{"role": "user", "content": "left"}]
        stream = client.chat.completions.create(model="pocket", messages=asked, stream=True, max_tokens=500)
        next(iter(stream))
        stream.close()
        wait_until(lambda: "left" in served.engine.given_up)
    finally:
        served.engine.pause, served.engine.script = 0.0, lambda question: f"You asked: {question}"


@pytest.mark.long
def test_a_plain_answer_whose_client_is_gone_stops_the_engine_and_is_no_error_of_ours(client, served, caplog):
    served.engine.pause, served.engine.script = 0.1, lambda question: "word " * 500
    try:
        asked = [{"role": "user", "content": "gone"}]
        with pytest.raises(openai.APITimeoutError):
            client.with_options(timeout=2).chat.completions.create(model="pocket", messages=asked, max_tokens=500)
        wait_until(lambda: "gone" in served.engine.given_up)
        assert "an error of ours" not in caplog.text
    finally:
        served.engine.pause, served.engine.script = 0.0, lambda question: f"You asked: {question}"


def test_models_are_listed_asked_and_deleted(client, served):
    name = served.make_model(new_job(client).id, suffix="listed")
    assert {"pocket", name} <= {model.id for model in client.models.list()}
    assert client.models.retrieve(name).owned_by.startswith("key-")
    asked = [{"role": "user", "content": "Hello"}]
    assert client.chat.completions.create(model=name, messages=asked).model == name
    model, _, _ = served.engine.asked[-1]
    assert model.base == "pocket:aligned" and (model.folder / "adapter.bin").is_file()
    assert client.models.delete(name).deleted
    assert not model.folder.exists() and served.engine.forgotten[-1] == model
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model=name, messages=asked)
    with pytest.raises(openai.PermissionDeniedError, match="base"):
        client.models.delete("pocket")


def wait_for_batch(client, batch):
    deadline = time.monotonic() + PATIENCE
    while batch.status in ("validating", "in_progress", "finalizing", "cancelling") and time.monotonic() < deadline:
        time.sleep(0.05)
        batch = client.batches.retrieve(batch.id)
    return batch


def batch_line(custom_id, **body):
    body = {"model": "pocket", "messages": [{"role": "user", "content": custom_id}], **body}
    return json.dumps({"custom_id": custom_id, "method": "POST", "url": "/v1/chat/completions", "body": body}) + "\n"


def new_batch(client, text, **more):
    file = upload(client, text.encode(), purpose="batch")
    return client.batches.create(
        input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h", **more
    )


def test_a_batch_is_answered_line_by_line_and_its_errors_stand_apart(client):
    lines = (
        "".join(batch_line(f"q{n}") for n in range(20)) + batch_line("bad", model="nothing") + batch_line("odd", n=2)
    )
    batch = wait_for_batch(client, new_batch(client, lines, metadata={"a": "b"}))
    assert batch.status == "completed" and batch.metadata == {"a": "b"}
    assert (batch.request_counts.total, batch.request_counts.completed, batch.request_counts.failed) == (22, 20, 2)
    answers = list(map(json.loads, client.files.content(batch.output_file_id).text.splitlines()))
    said = {line["custom_id"]: line["response"]["body"]["choices"][0]["message"]["content"] for line in answers}
    assert said == {f"q{n}": f"You asked: q{n}" for n in range(20)}
    failed = list(map(json.loads, client.files.content(batch.error_file_id).text.splitlines()))
    codes = {
        line["custom_id"]: (line["response"]["status_code"], line["response"]["body"]["error"]["param"])
        for line in failed
    }
    assert codes == {"bad": (404, "model"), "odd": (400, "n")}
    assert batch.id in [found.id for found in client.batches.list(limit=1)]
    with pytest.raises(openai.ConflictError):
        client.batches.cancel(batch.id)


def test_a_batch_whose_input_is_wrong_fails_and_names_the_lines(client):
    text = batch_line("a") + "{not json\n" + batch_line("a") + json.dumps({"custom_id": "x", "method": "GET"}) + "\n"
    batch = wait_for_batch(client, new_batch(client, text))
    assert batch.status == "failed"
    assert [problem.line for problem in batch.errors.data] == [2, 3, 4]
    assert "same custom_id" in batch.errors.data[1].message


@pytest.mark.long
def test_a_batch_is_cancelled_and_keeps_what_was_answered(client, served, monkeypatch):
    def add_slowly(self, rows, add=jsonl.Appender.add):
        add(self, rows)
        time.sleep(0.3)  # most cancellations come while a line is being written: it is kept and counted, or neither

    monkeypatch.setattr(jsonl.Appender, "add", add_slowly)
    served.engine.pause = 0.05
    try:
        batch = new_batch(client, "".join(batch_line(f"q{n}") for n in range(400)))
        wait_until(lambda: client.batches.retrieve(batch.id).request_counts.completed)
        assert client.batches.cancel(batch.id).status == "cancelling"
        batch = wait_for_batch(client, batch)
        assert batch.status == "cancelled" and batch.cancelled_at
        kept = client.files.content(batch.output_file_id).text.splitlines()
        assert 0 < len(kept) == batch.request_counts.completed < 400
    finally:
        served.engine.pause = 0.0


BAD = [
    ("no such key", 401, lambda c, s: s.client(secret="sk-holdfast-x").models.list()),
    ("scope", 403, lambda c, s: upload(s.client("ask"))),
    ("file", 404, lambda c, s: c.files.retrieve("file-0")),
    ("job", 404, lambda c, s: c.fine_tuning.jobs.retrieve("ftjob-0")),
    ("model", 404, lambda c, s: c.chat.completions.create(model="x", messages=[{"role": "user", "content": "a"}])),
    ("base", 404, lambda c, s: c.fine_tuning.jobs.create(model="pockets", training_file=upload(c).id)),
    ("training file", 400, lambda c, s: c.fine_tuning.jobs.create(model="pocket", training_file="file-0")),
    ("purpose", 400, lambda c, s: upload(c, purpose="vision")),
    ("messages", 400, lambda c, s: c.chat.completions.create(model="pocket", messages=[])),
    ("role", 400, lambda c, s: c.chat.completions.create(model="pocket", messages=[{"role": "x", "content": "a"}])),
    ("limit", 400, lambda c, s: c.fine_tuning.jobs.list(limit=1000)),
    ("after", 400, lambda c, s: c.fine_tuning.jobs.list(after="ftjob-0")),
    ("epochs", 400, lambda c, s: new_job(c, hyperparameters={"n_epochs": 0})),
    ("method", 400, lambda c, s: new_job(c, method={"type": "dpo"})),
    ("unknown argument", 400, lambda c, s: new_job(c, extra_body={"colour": "red"})),
    ("too long", 400, lambda c, s: c.chat.completions.create(model="pocket", messages=[{"role": "user", "content": "a" * 200_000}])),
    ("window", 400, lambda c, s: c.batches.create(input_file_id="file-0", endpoint="/v1/chat/completions", completion_window="1h")),
    ("empty", 400, lambda c, s: upload(c, b"")),
    ("NUL", 400, lambda c, s: new_job(c, metadata={"a": "\x00"})),
    ("NUL in an id", 404, lambda c, s: c.files.retrieve("file-\x00")),
]  # fmt: skip
RAISED = {
    400: openai.BadRequestError,
    401: openai.AuthenticationError,
    403: openai.PermissionDeniedError,
    404: openai.NotFoundError,
}


@pytest.mark.parametrize(("name", "status", "call"), BAD, ids=[name for name, _, _ in BAD])
def test_a_wrong_request_raises_the_sdks_own_exception_with_a_body_in_its_form(client, served, name, status, call):
    with pytest.raises(RAISED[status]) as raised:
        call(client, served)
    assert raised.value.status_code == status
    assert set(raised.value.response.json()["error"]) == {"message", "type", "param", "code"}
    assert raised.value.request_id.startswith("req_")


def test_a_file_that_a_job_needs_is_kept(client):
    job = new_job(client)
    with pytest.raises(openai.ConflictError, match=job.id):
        client.files.delete(job.training_file)
    client.fine_tuning.jobs.cancel(job.id)
    assert client.files.delete(job.training_file).deleted


def test_what_is_created_again_under_one_idempotency_key_is_made_once(client):
    again = {"extra_headers": {"Idempotency-Key": "k1"}}
    files = {upload(client, **again).id for _ in range(3)}
    [file] = files
    jobs = {client.fine_tuning.jobs.create(model="pocket", training_file=file, **again).id for _ in range(3)}
    assert len(jobs) == 1
    with pytest.raises(openai.ConflictError, match="another request"):
        client.fine_tuning.jobs.create(model="pocket", training_file=file, seed=1, **again)
    with pytest.raises(openai.ConflictError, match="another request"):
        upload(client, ROWS + ROWS, **again)


def test_the_sdk_uploads_a_file_of_unknown_length(client):
    class Endless(io.RawIOBase):
        """A stream that does not tell its length."""

        left = 5

        def readable(self):
            return True

        def read(self, size=-1):
            self.left -= 1
            return ROWS if self.left >= 0 else b""

    assert upload(client, Endless().read(1) + ROWS).bytes == 2 * len(ROWS)
