"""Health, metrics, logs, the documentation, the database's tables, keys on the command line."""

import json
import logging
import os
import re
import time

import pytest
from support.service_double import DATABASES, ROWS, make_service, serving, url_of
from support.waiting import wait_until

from holdfast.core.errors import DataError
from holdfast.service import keys
from holdfast.service.database import Batch, Table, connect
from holdfast.service.logs import JsonLines
from holdfast.service.policy import DEFAULT, read_policy
from holdfast.service.store import FileStore

PROMPT = "a prompt that nobody else may read"
ANSWER = "an answer that nobody else may read"
NAME = "a-name-of-a-file.jsonl"


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("service")) as served:
        yield served


@pytest.mark.long
def test_health_readiness_and_metrics_need_no_key(served):
    client = served.client("tune", "ask")
    client.chat.completions.create(model="pocket", messages=[{"role": "user", "content": "Hello"}])
    assert served.http.get(f"{served.url}/healthz").json() == {"status": "ok"}
    assert served.http.get(f"{served.url}/readyz").json() == {"status": "ready"}
    metrics = served.http.get(f"{served.url}/metrics").text
    assert 'holdfast_requests_total{method="POST",route="/v1/chat/completions",status="200"}' in metrics
    assert 'holdfast_tokens_total{kind="completion",model="pocket"}' in metrics


def test_a_service_whose_files_are_gone_is_not_ready(tmp_path):
    with serving(tmp_path / "s") as served:
        (served.service.folder / "files").rename(tmp_path / "gone")
        answer = served.http.get(f"{served.url}/readyz")
        assert answer.status_code == 503 and answer.json()["error"]["code"] == "not_ready"


def test_the_documentation_has_every_route_and_loads_nothing_from_elsewhere(served):
    page = served.http.get(f"{served.url}/docs")
    api = served.http.get(f"{served.url}/openapi.json").json()
    assert all(path in page.text for path in api["paths"])
    assert re.findall(r"""(?:src|href)=["']?(https?:|//)""", page.text) == []
    assert "<script" not in page.text and "default-src 'none'" in page.headers["content-security-policy"]


def test_no_prompt_answer_name_or_key_is_in_a_log_a_metric_an_error_or_a_file(tmp_path):
    lines, handler = [], logging.Handler()
    handler.setFormatter(JsonLines())
    handler.emit = lambda record: lines.append(handler.format(record))
    root = logging.getLogger()
    root.addHandler(handler)
    levels = {name: logging.getLogger(name).level for name in ("", "holdfast.service")}
    root.setLevel(logging.DEBUG)
    logging.getLogger("holdfast.service").setLevel(logging.INFO)
    errors = []
    try:
        with serving(tmp_path) as served:
            client = served.client("tune", "ask")
            turns = [{"role": "user", "content": PROMPT}]
            served.engine.script = lambda question: ANSWER
            client.chat.completions.create(model="pocket", messages=turns)
            list(client.chat.completions.create(model="pocket", messages=turns, stream=True))
            file = client.files.create(file=(NAME, ROWS), purpose="fine-tune")
            client.fine_tuning.jobs.create(model="pocket", training_file=file.id)

            def fail(question):
                raise RuntimeError(question)

            served.engine.script = fail
            headers = {"Authorization": f"Bearer {client.api_key}"}
            for sent in ({"model": "pocket", "messages": turns}, {"model": "pocket", "messages": turns, "n": PROMPT},
                         {"model": PROMPT * 20, "messages": 3}):  # fmt: skip
                errors.append(served.http.post(f"{served.url}/v1/chat/completions", json=sent, headers=headers))
            errors.append(
                served.http.get(f"{served.url}/v1/models", headers={"Authorization": f"Bearer x{client.api_key}"})
            )
            metrics = served.http.get(f"{served.url}/metrics").text
    finally:
        root.removeHandler(handler)
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
    assert [error.status_code for error in errors] == [500, 400, 400, 401]
    ours = [json.loads(line) for line in lines]
    assert sum(line["event"] == "request" for line in ours) >= 9
    broken = next(line for line in ours if line["event"] == "an error of ours")
    assert broken["exception"]["kind"] == "RuntimeError" and broken["request"] in errors[0].text
    kept = "\n".join(lines) + metrics + "".join(error.text for error in errors)
    for secret in (PROMPT, ANSWER, NAME, client.api_key):
        assert secret not in kept
    for path in tmp_path.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert not [text for text in (PROMPT, ANSWER, client.api_key) if text.encode() in content], path


@pytest.mark.parametrize("kind", DATABASES)
def test_the_tables_that_migrations_make_are_those_of_the_models(tmp_path, kind):
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    database = connect(url_of(kind) or f"sqlite:///{tmp_path}/service.db")
    database.migrate()
    database.migrate()
    with database.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Table.metadata) == []
        if kind == "sqlite":
            assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
    database.close()


def test_the_shipped_policy_checks_rows_and_has_a_gate():
    policy = read_policy(DEFAULT)
    assert [check.kind for check in policy.after_upload] == ["rows"]
    assert policy.before_release.kind == "gate"
    assert policy.test_faults.every == {} and not policy.test_faults.by_header


def test_keys_have_names_and_scopes_that_are_checked(tmp_path):
    service = make_service(tmp_path)
    for name, scopes, said in (("", ["ask"], "name"), ("a\nb", ["ask"], "name"), ("a", [], "scope"),
                               ("a", ["tun"], "Did you mean 'tune'")):  # fmt: skip
        with pytest.raises(DataError, match=said):
            keys.create(service.database, name, scopes)
    with pytest.raises(DataError, match="no key"):
        keys.revoke(service.database, "key-0")
    service.database.close()


def test_files_lie_at_any_place_that_fsspec_knows(tmp_path):
    with serving(tmp_path, files="memory://holdfast-test-files") as served:
        client = served.client("tune", "ask")
        file = client.files.create(file=("x", ROWS), purpose="fine-tune")
        assert client.files.content(file.id).read() == ROWS
        with served.service.store.local(file.id) as path:
            assert path.read_bytes() == ROWS
        assert client.files.delete(file.id).deleted
        assert list(served.service.store.spool.iterdir()) == []
        with pytest.raises(FileNotFoundError):
            next(served.service.store.chunks(file.id))


def test_what_a_killed_process_left_is_swept_at_the_next_start_and_nothing_else(tmp_path):
    with serving(tmp_path) as served:
        client = served.client("tune")
        file = client.files.create(file=("x", ROWS), purpose="fine-tune")
    kept, left = tmp_path / "files" / file.id, tmp_path / "files" / f"file-{'0' * 24}"
    young, spool = tmp_path / "files" / f"file-{'1' * 24}", tmp_path / "spool" / "upload-x"
    for path in (left, young, spool):
        path.write_bytes(b"x")
    for path in (kept, left, spool):
        os.utime(path, (0, 0))
    with serving(tmp_path):
        assert kept.read_bytes() == ROWS and young.exists()
        assert not left.exists() and not spool.exists()


@pytest.mark.parametrize("trick", ["../x", "file-", "/etc/passwd", "file-" + "A" * 24, "", "file-" + "0" * 24 + "\n"])
def test_the_store_takes_only_ids_that_the_service_made(tmp_path, trick):
    store = FileStore(str(tmp_path / "files"), tmp_path / "spool")
    with pytest.raises(ValueError, match="not the id"):
        next(store.chunks(trick))


@pytest.mark.long
def test_a_batch_goes_on_in_another_process_and_no_line_is_answered_twice(tmp_path):
    line = '{{"custom_id": "{0}", "method": "POST", "url": "/v1/chat/completions", "body": {{"model": "pocket", "messages": [{{"role": "user", "content": "{0}"}}]}}}}\n'
    with serving(tmp_path) as served:
        served.engine.pause = 0.05
        client = served.client("ask")
        file = client.files.create(file=("b", "".join(line.format(n) for n in range(400)).encode()), purpose="batch")
        batch = client.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")
        kept = tmp_path / "batches" / f"{batch.id}.jsonl"
        wait_until(lambda: kept.is_file() and kept.read_bytes().count(b"\n") >= 10)
        secret = client.api_key
    first = {json.loads(text)["custom_id"] for text in kept.read_text().splitlines()}
    assert 10 <= len(first) < 400
    with kept.open("ab") as file:
        file.write(b'{"custom_id": "cut o')  # as a kill leaves it
    with serving(tmp_path) as served:
        client = served.client(secret=secret)
        wait_until(lambda: client.batches.retrieve(batch.id).status == "completed")
        batch = client.batches.retrieve(batch.id)
        answers = [
            json.loads(text)["custom_id"] for text in client.files.content(batch.output_file_id).text.splitlines()
        ]
        assert sorted(answers) == sorted(map(str, range(400)))
        assert batch.request_counts.completed == 400
        assert not {messages[-1].content for _, messages, _ in served.engine.asked} & first
        with served.service.database.reading() as session:
            assert session.query(Batch).where(Batch.id == batch.id).one().attempt == 2
    assert not kept.exists()


@pytest.mark.long
def test_a_line_of_a_batch_waits_while_the_service_is_busy_or_stopping(tmp_path):
    line = {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions"}
    body = {"model": "pocket", "messages": [{"role": "user", "content": "Hello"}]}
    with serving(tmp_path, {"limits": {"concurrent_chats": 1, "waiting_chats": 1}}) as served:
        client = served.client("ask")
        served.service.waiting, served.service.stopping = 2, True
        file = client.files.create(file=("b", json.dumps({**line, "body": body}).encode()), purpose="batch")
        batch = client.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")
        wait_until(lambda: client.batches.retrieve(batch.id).status == "in_progress")
        time.sleep(0.3)
        served.service.stopping = False
        time.sleep(0.6)
        served.service.waiting = 0
        wait_until(lambda: client.batches.retrieve(batch.id).status == "completed")
        assert client.batches.retrieve(batch.id).request_counts.completed == 1
