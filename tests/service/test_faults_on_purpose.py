"""What the service does when it is told to misbehave, and what the openai SDK makes of it."""

import openai
import pytest
from support.service_double import ROWS, serving

from holdfast.core.errors import DataError
from holdfast.service.database import Job
from holdfast.service.policy import policy_of

ASKED = {"model": "pocket", "messages": [{"role": "user", "content": "Hello"}]}


def ordered(fault):
    return {"extra_headers": {"X-Holdfast-Fault": fault}}


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    faults = {"by_header": True, "timeout_seconds": 0.3}
    with serving(tmp_path_factory.mktemp("service"), {"test_faults": faults}) as served:
        yield served


@pytest.fixture
def client(served):
    return served.client("tune", "ask")


@pytest.mark.parametrize(
    ("fault", "raised"),
    [("429", openai.RateLimitError), ("500", openai.InternalServerError), ("drop", openai.APIConnectionError),
     ("drop-after", openai.APIConnectionError), ("timeout", openai.APIConnectionError)],
)  # fmt: skip
def test_a_fault_that_a_header_orders_happens(client, fault, raised):
    for call in (client.models.list, lambda **more: client.chat.completions.create(**ASKED, **more)):
        with pytest.raises(raised):
            call(**ordered(fault))
    assert client.models.list()


def test_a_client_that_waits_less_than_a_timeout_takes_sees_a_timeout(client):
    with pytest.raises(openai.APITimeoutError):
        client.with_options(timeout=0.1).models.list(**ordered("timeout"))


def test_an_answer_that_is_dropped_after_the_work_is_had_again_under_the_same_key(client):
    file = client.files.create(file=("rows.jsonl", ROWS), purpose="fine-tune")
    headers = {"Idempotency-Key": "one", "X-Holdfast-Fault": "drop-after"}
    with pytest.raises(openai.APIConnectionError):
        client.fine_tuning.jobs.create(model="pocket", training_file=file.id, extra_headers=headers)
    [made] = client.fine_tuning.jobs.list()
    del headers["X-Holdfast-Fault"]
    again = client.fine_tuning.jobs.create(model="pocket", training_file=file.id, extra_headers=headers)
    assert again.id == made.id and len(list(client.fine_tuning.jobs.list())) == 1


def test_a_moderated_upload_fails_its_job_with_the_reason(client):
    file = client.files.create(file=("rows.jsonl", ROWS), purpose="fine-tune", **ordered("moderate"))
    assert file.status == "error" and "moderation" in file.status_details
    job = client.fine_tuning.jobs.create(model="pocket", training_file=file.id)
    assert job.status == "failed" and job.error.code == "invalid_training_file" and "moderation" in job.error.message
    assert [event.level for event in client.fine_tuning.jobs.list_events(job.id)] == ["error", "info"]


def test_a_job_is_told_to_fail_half_way(client, served):
    file = client.files.create(file=("rows.jsonl", ROWS), purpose="fine-tune")
    job = client.fine_tuning.jobs.create(model="pocket", training_file=file.id, **ordered("fail-job=0.5"))
    with served.service.database.reading() as session:
        assert session.query(Job).where(Job.id == job.id).one().faults == {"fail_job_at": 0.5}
    with pytest.raises(openai.BadRequestError, match="share"):
        client.fine_tuning.jobs.create(model="pocket", training_file=file.id, **ordered("fail-job=x"))


@pytest.mark.long
def test_a_header_orders_nothing_unless_the_policy_allows_it(tmp_path):
    with serving(tmp_path) as served:
        client = served.client("tune", "ask")
        for fault in ("429", "500", "drop", "drop-after", "timeout", "moderate", "fail-job=0.5"):
            assert client.models.list(**ordered(fault))
            assert client.files.create(file=("x", ROWS), purpose="fine-tune", **ordered(fault)).status == "processed"


@pytest.mark.long
def test_faults_of_the_policy_happen_to_each_so_many_requests_and_a_patient_client_gets_through(tmp_path):
    faults = {"every": {"500": 3, "drop": 4}, "moderate_uploads": True, "fail_job_at": 0.25}
    with serving(tmp_path, {"test_faults": faults}) as served:
        client = served.client("tune", "ask")
        failed = 0
        for _ in range(24):
            try:
                client.models.list()
            except openai.APIError:
                failed += 1
        assert 8 <= failed <= 14
        patient = served.client(secret=client.api_key, max_retries=8)
        assert patient.files.create(file=("x", ROWS), purpose="fine-tune").status == "error"


def test_a_fault_that_is_not_known_is_a_mistake_of_the_policy():
    with pytest.raises(DataError, match="test_faults"):
        policy_of({"bases": {"pocket": {"model": "pocket:aligned"}}, "test_faults": {"every": {"418": 2}}})
