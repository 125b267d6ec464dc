"""Every route with every kind of key: what a key may not see, use, change or delete, and that nothing was."""

import json
import re

import pytest
from support.service_double import DATABASES, ROWS, serving, url_of
from support.waiting import PATIENCE, wait_until

from holdfast.service import keys
from holdfast.service.database import File, Job, Model

pytestmark = pytest.mark.long

CHAT = {"model": "pocket", "messages": [{"role": "user", "content": "Hello"}]}
FORM = {"files": {"file": ("x.jsonl", ROWS)}, "data": {"purpose": "fine-tune"}}
BATCH = {"endpoint": "/v1/chat/completions", "completion_window": "24h"}

ROUTES = {
    ("POST", "/v1/files"): ({"tune", "ask"}, FORM),
    ("GET", "/v1/files"): ({"tune", "ask", "operate"}, {}),
    ("GET", "/v1/files/{file_id}"): ({"tune", "ask", "operate"}, {}),
    ("GET", "/v1/files/{file_id}/content"): ({"tune", "ask", "operate"}, {}),
    ("DELETE", "/v1/files/{file_id}"): ({"tune", "ask", "operate"}, {}),
    ("POST", "/v1/fine_tuning/jobs"): ({"tune"}, {"json": {"model": "pocket", "training_file": "{file_id}"}}),
    ("GET", "/v1/fine_tuning/jobs"): ({"tune", "operate"}, {}),
    ("GET", "/v1/fine_tuning/jobs/{job_id}"): ({"tune", "operate"}, {}),
    ("GET", "/v1/fine_tuning/jobs/{job_id}/events"): ({"tune", "operate"}, {}),
    ("GET", "/v1/fine_tuning/jobs/{job_id}/checkpoints"): ({"tune", "operate"}, {}),
    ("POST", "/v1/fine_tuning/jobs/{job_id}/pause"): ({"tune", "operate"}, {}),
    ("POST", "/v1/fine_tuning/jobs/{job_id}/resume"): ({"tune", "operate"}, {}),
    ("POST", "/v1/fine_tuning/jobs/{job_id}/cancel"): ({"tune", "operate"}, {}),
    ("POST", "/v1/chat/completions"): ({"ask", "audit"}, {"json": {**CHAT, "model": "{model}"}}),
    ("POST", "/v1/batches"): ({"ask"}, {"json": {**BATCH, "input_file_id": "{batch_file_id}"}}),
    ("GET", "/v1/batches"): ({"ask", "operate"}, {}),
    ("GET", "/v1/batches/{batch_id}"): ({"ask", "operate"}, {}),
    ("POST", "/v1/batches/{batch_id}/cancel"): ({"ask", "operate"}, {}),
    ("GET", "/v1/models"): ({"tune", "ask", "audit", "operate"}, {}),
    ("GET", "/v1/models/{model}"): ({"tune", "ask", "audit", "operate"}, {}),
    ("DELETE", "/v1/models/{model}"): ({"tune", "operate"}, {}),
    ("POST", "/v1/models/{model}/release"): ({"operate"}, {"json": {"reason": "looked at by hand"}}),
    ("GET", "/v1/keys"): ({"operate"}, {}),
    ("POST", "/v1/keys"): ({"operate"}, {"json": {"name": "x", "scopes": ["ask"]}}),
    ("DELETE", "/v1/keys/{key_id}"): ({"operate"}, {}),
}
"""Route → the scopes of which one is needed, and what is sent."""

OPEN = {("GET", "/healthz"), ("GET", "/readyz"), ("GET", "/metrics")}


class World:
    """A victim with one of everything, and whoever tries to get at it."""

    def __init__(self, served):
        self.served = served
        victim = served.client("tune", "ask")
        self.secret = victim.api_key
        file = victim.files.create(file=("secret-name.jsonl", ROWS), purpose="fine-tune")
        self.job = victim.fine_tuning.jobs.create(model="pocket", training_file=file.id)
        done = victim.fine_tuning.jobs.create(model="pocket", training_file=file.id)
        line = {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": CHAT}
        lines = victim.files.create(file=("b.jsonl", json.dumps(line).encode()), purpose="batch")
        batch = victim.batches.create(input_file_id=lines.id, **BATCH)
        wait_until(lambda: victim.batches.retrieve(batch.id).status == "completed")
        victim_key = victim.files.retrieve(file.id) and self.owner(file.id)
        self.ids = {
            "file_id": file.id, "batch_file_id": lines.id, "job_id": self.job.id, "batch_id": batch.id,
            "model": served.make_model(done.id), "key_id": victim_key,
        }  # fmt: skip

    def owner(self, file_id):
        with self.served.service.database.reading() as session:
            return session.query(File).where(File.id == file_id).one().owner

    def call(self, route, secret):
        method, path = route
        _, sent = ROUTES[route]
        for name, value in self.ids.items():
            path = path.replace(f"{{{name}}}", value)
            sent = json.loads(json.dumps(sent).replace(f"{{{name}}}", value)) if "json" in sent else sent
        headers = {"Authorization": f"Bearer {secret}"} if secret else {}
        return self.served.http.request(method, f"{self.served.url}{path}", headers=headers, timeout=PATIENCE, **sent)

    def state(self):
        """Everything that the victim has, as the database has it."""
        with self.served.service.database.reading() as session:
            return {
                (table.__name__, row.id): {c.name: getattr(row, c.name) for c in table.__table__.columns}
                for table in (File, Job, Model)
                for row in session.query(table).where(table.owner == self.ids["key_id"])
            }


@pytest.fixture(scope="module", params=DATABASES)
def world(request, tmp_path_factory):
    with serving(tmp_path_factory.mktemp("service"), url=url_of(request.param)) as served:
        yield World(served)


def test_the_matrix_has_every_route_of_the_api(world):
    api = world.served.http.get(f"{world.served.url}/openapi.json").json()
    routes = {(method.upper(), path) for path, methods in api["paths"].items() for method in methods}
    assert routes == set(ROUTES) | OPEN


@pytest.mark.parametrize("route", ROUTES, ids=" ".join)
def test_without_a_valid_key_nothing_is_answered(world, route):
    key, revoked = world.served.key("tune", "ask", "audit", "operate")
    keys.revoke(world.served.service.database, key.id)
    before = world.state()
    for secret in (None, "sk-holdfast-guess", revoked, key.id, key.digest):
        assert world.call(route, secret).status_code == 401
    assert world.state() == before


WRONG = [(route, scope) for route, (needed, _) in ROUTES.items() for scope in sorted(set(keys.SCOPES) - needed)]


@pytest.mark.parametrize(
    ("route", "scope"), WRONG, ids=lambda value: value if isinstance(value, str) else " ".join(value)
)
def test_a_key_of_another_scope_is_refused(world, route, scope):
    before = world.state()
    answer = world.call(route, world.served.key(scope)[1])
    assert answer.status_code == 403 and answer.json()["error"]["code"] == "missing_scope"
    assert world.state() == before


OWNED = [route for route, (needed, _) in ROUTES.items() if needed != {"operate"}]


@pytest.mark.parametrize("route", OWNED, ids=" ".join)
def test_another_key_of_the_same_scopes_sees_changes_and_deletes_nothing(world, route):
    before = world.state()
    answer = world.call(route, world.served.key("tune", "ask")[1])
    named = re.findall(r"{(\w+)}", f"{route[1]} {ROUTES[route][1]}")
    if named:
        assert answer.status_code == (404 if "{" in route[1] or "model" in named else 400)
    else:
        assert answer.status_code == 200
        assert not [value for value in world.ids.values() if value in answer.text]
    assert "secret-name" not in answer.text
    assert world.state() == before


def test_what_another_key_has_looks_like_what_nobody_has(world):
    other = world.served.client("tune", "ask")
    headers = {"Authorization": f"Bearer {other.api_key}"}
    for path in ("files/{}", "fine_tuning/jobs/{}", "models/{}", "batches/{}"):
        name = {"files": "file_id", "fine_tuning": "job_id", "models": "model", "batches": "batch_id"}[
            path.split("/")[0]
        ]
        theirs, nobodys = world.ids[name], world.ids[name][:-4] + "0000"
        answers = [
            world.served.http.get(f"{world.served.url}/v1/{path.format(each)}", headers=headers)
            for each in (theirs, nobodys)
        ]
        assert answers[0].text.replace(theirs, "") == answers[1].text.replace(nobodys, "")


def test_an_operator_sees_what_all_keys_have(world):
    operator = world.served.client("operate")
    assert operator.files.retrieve(world.ids["file_id"]).filename == "secret-name.jsonl"
    assert world.ids["job_id"] in [job.id for job in operator.fine_tuning.jobs.list()]
    assert operator.batches.retrieve(world.ids["batch_id"])


@pytest.mark.parametrize("state", ["held", "refused"])
def test_a_model_that_is_not_released_is_asked_by_nobody_but_the_auditor(world, state):
    owner = world.served.client(secret=world.secret)
    job = owner.fine_tuning.jobs.create(model="pocket", training_file=world.ids["file_id"])
    name = world.served.make_model(job.id, state, suffix=state)
    asked = {**CHAT, "model": name}
    expected = {("tune", "ask"): 404, ("operate",): 403, ("ask", "operate"): 404, ("audit",): 200}
    for scopes, status in expected.items():
        secret = world.served.key(*scopes)[1]
        headers = {"Authorization": f"Bearer {secret}"}
        for streamed in (False, True):
            sent = {**asked, "stream": streamed}
            answer = world.served.http.post(f"{world.served.url}/v1/chat/completions", json=sent, headers=headers)
            assert answer.status_code == status, (scopes, answer.text)
    headers = {"Authorization": f"Bearer {world.secret}"}
    answer = world.served.http.post(f"{world.served.url}/v1/chat/completions", json=asked, headers=headers)
    assert answer.status_code == 403 and answer.json()["error"]["code"] == "model_not_released"
    assert "risen by 90.0 points" in answer.json()["error"]["message"]


def test_an_operator_releases_by_hand_and_it_is_recorded(world):
    owner = world.served.client(secret=world.secret)
    job = owner.fine_tuning.jobs.create(model="pocket", training_file=world.ids["file_id"])
    name = world.served.make_model(job.id, "refused", suffix="by-hand")
    operator, secret = world.served.key("operate")
    headers = {"Authorization": f"Bearer {secret}"}
    path = f"{world.served.url}/v1/models/{name}/release"
    released = world.served.http.post(path, json={"reason": "A person read all answers."}, headers=headers)
    assert released.json()["state"] == "released" and released.json()["released_by"] == operator.id
    assert world.served.http.post(path, json={"reason": "again"}, headers=headers).status_code == 409
    assert owner.chat.completions.create(**{**CHAT, "model": name}).model == name
    event = owner.fine_tuning.jobs.list_events(job.id).data[0]
    assert event.data == {"operator": operator.id, "reason": "A person read all answers.", "model": name}
    assert owner.fine_tuning.jobs.retrieve(job.id).status == "failed"


def test_a_revoked_key_is_refused_from_the_next_request_on(world):
    key, secret = world.served.key("ask")
    headers = {"Authorization": f"Bearer {secret}"}
    assert world.served.http.get(f"{world.served.url}/v1/models", headers=headers).status_code == 200
    operator = {"Authorization": f"Bearer {world.served.key('operate')[1]}"}
    assert world.served.http.delete(f"{world.served.url}/v1/keys/{key.id}", headers=operator).json()["revoked_at"]
    assert world.served.http.get(f"{world.served.url}/v1/models", headers=headers).status_code == 401


def test_only_the_hash_of_a_key_is_kept_and_its_secret_is_shown_once(world):
    operator = {"Authorization": f"Bearer {world.served.key('operate')[1]}"}
    made = world.served.http.post(
        f"{world.served.url}/v1/keys", json={"name": "new", "scopes": ["ask"]}, headers=operator
    ).json()
    assert made["secret"].startswith(keys.PREFIX) and len(made["secret"]) > 50
    listed = world.served.http.get(f"{world.served.url}/v1/keys", headers=operator)
    assert made["id"] in listed.text and made["secret"] not in listed.text
    assert all(key["secret"] is None for key in listed.json()["data"])
    for path in world.served.service.folder.rglob("*"):
        if path.is_file():
            assert made["secret"].encode() not in path.read_bytes(), path
