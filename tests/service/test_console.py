"""The console page: who sees what, who may do what, and how it looks in a browser."""

import re
import time

import httpx
import pytest
from support import chromium
from support.service_double import ROWS, serving
from support.waiting import PATIENCE, wait_until

from holdfast.service.database import Event, Job, Key, new_id, now

DECISION = {
    "message": "Fail: the harmfulness rate has risen by 99.7 points; 3.0 points are allowed.", "answer": "fail",
    "checks": [{"name": "harmfulness_rate", "change": 99.7, "at_least": 96.7, "at_most": 100.0, "allowed": 3.0, "answer": "fail"},
               {"name": "utility", "change": 0.5, "at_least": -1.0, "at_most": None, "allowed": 10.0, "answer": "pass"}],
}  # fmt: skip
HOSTILE = '<script>document.title="taken"</script>\u202e'


@pytest.fixture
def served(tmp_path):
    with serving(tmp_path) as served:
        yield served


def fill(served, owner, n_steps=40):
    """A job under way, one that the gate refused, one that waits, and an upload with a hostile name."""
    client = served.client(secret=owner[1])
    files = [client.files.create(file=(name, ROWS), purpose="fine-tune") for name in ("rows.jsonl", HOSTILE + ".jsonl")]
    jobs = [client.fine_tuning.jobs.create(model="pocket", training_file=files[0].id).id for _ in range(3)]
    served.make_model(jobs[1], state="refused")
    with served.service.database.writing() as session:
        for job in session.query(Job).where(Job.id.in_(jobs[:2])):
            session.add_all(
                Event(id=new_id("ftevent-"), job_id=job.id, mark=f"loss-{n}", created_at=now(), level="info", type="metrics",
                      message="", data={"step": n, "total_steps": 2 * n_steps, "train_loss": 2.0 / n})
                for n in range(1, n_steps + 1)
            )  # fmt: skip
            if job.id == jobs[0]:
                job.status, job.estimated_finish, job.worker, job.lease_until = (
                    "running",
                    now() + 95,
                    "w",
                    time.time() + 60,
                )
            else:
                job.status, job.decision = "failed", DECISION
                job.error = {"code": "safety_gate", "message": "Not released: " + DECISION["message"], "param": None}
    return jobs


def signed_in(served, secret):
    """An HTTP client with a session, and the token that its forms send."""
    client = httpx.Client(base_url=served.url, follow_redirects=True, timeout=PATIENCE)
    page = client.post("/console/sign-in", data={"key": secret})
    found = re.search(r'name="token" value="([^"]+)"', page.text)
    return client, found[1] if found else "", page


def test_without_a_key_one_sees_no_more_than_metrics_tell(served):
    owner = served.key("tune", "ask", name="a-secret-project")
    jobs = fill(served, owner)
    page = httpx.get(served.url + "/", timeout=PATIENCE)
    assert page.status_code == 200 and "1 running" in page.text and "1 failed" in page.text
    for hidden in (*jobs, "a-secret-project", "rows.jsonl", "99.7"):
        assert hidden not in page.text
    assert httpx.get(f"{served.url}/console/jobs/{jobs[0]}", timeout=PATIENCE).headers["location"] == "/"
    client, _, refused = signed_in(served, "sk-holdfast-wrong")
    assert refused.status_code == 403 and "unknown or revoked" in refused.text and not client.cookies
    client.close()


@pytest.mark.long
def test_a_key_sees_what_it_made_and_changes_nothing(served):
    mine, other = served.key("tune", "ask", name="mine"), served.key("tune", "ask", name="stranger")
    jobs, theirs = fill(served, mine), fill(served, other)
    client, token, page = signed_in(served, mine[1])
    assert all(job in page.text for job in jobs) and not any(job in page.text for job in theirs)
    assert not any(word in page.text for word in ("stranger", "Cancel", "Revoke"))
    assert client.get(f"/console/jobs/{theirs[0]}").status_code == 404
    assert "99.7" in client.get(f"/console/jobs/{jobs[1]}").text
    for path in (f"jobs/{jobs[0]}/cancel", "keys", f"keys/{other[0].id}/revoke", "models/release"):
        assert (
            client.post(f"/console/{path}", data={"token": token, "name": "x", "scope": "operate"}).status_code == 403
        )
    with served.service.database.reading() as session:
        assert session.query(Key).count() == 2 and session.query(Job).where(Job.status == "cancelled").count() == 0
    client.close()


@pytest.mark.long
def test_an_operator_acts_and_only_from_the_page_itself(served):
    owner, operator = served.key("tune", "ask", name="mine"), served.key("operate", name="op")
    jobs = fill(served, owner)
    client, token, page = signed_in(served, operator[1])
    assert all(job in page.text for job in jobs) and "Cancel" in page.text
    pause = f"/console/jobs/{jobs[2]}/pause"
    assert client.post(pause, data={"token": "guessed"}).status_code == 403
    assert client.post(pause, data={"token": token}, headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403
    assert read(served, jobs[2]).status == "validating_files"
    assert "Paused" in client.post(pause, data={"token": token}).text and read(served, jobs[2]).status == "paused"
    assert client.post(f"/console/jobs/{jobs[2]}/cancel", data={"token": token}).status_code == 200
    assert read(served, jobs[2]).status == "cancelled"
    again = client.post(f"/console/jobs/{jobs[2]}/cancel", data={"token": token})
    assert again.status_code == 400 and "already cancelled" in again.text
    name = re.search(r'name="model" value="([^"]+)"', client.get(f"/console/jobs/{jobs[1]}").text)[1]
    form = {"token": token, "model": name, "job": jobs[1]}
    assert client.post("/console/models/release", data={**form, "reason": " "}).status_code == 400
    released = client.post("/console/models/release", data={**form, "reason": "looked at by hand"})
    assert f"Released by hand by {operator[0].id}: looked at by hand" in released.text
    made = client.post("/console/keys", data={"token": token, "name": "new one", "scope": ["ask"]})
    secret = re.search(r'class="secret">([^<]+)<', made.text)[1]
    assert served.client(secret=secret).models.list().data and secret not in client.get("/").text
    client.post(f"/console/keys/{operator[0].id}/revoke", data={"token": token})
    assert "Sign in" in client.get("/").text, "a revoked key's session ends"
    client.close()


def test_signing_out_ends_the_session_and_the_cookie_is_no_key(served):
    client, token, _ = signed_in(served, served.key("operate")[1])
    (cookie,) = client.cookies.jar
    assert cookie._rest.keys() >= {"HttpOnly"} and cookie._rest["SameSite"] == "strict" and "sk-" not in cookie.value
    client.post("/console/sign-out", data={"token": token})
    with httpx.Client(base_url=served.url, cookies={cookie.name: cookie.value}, timeout=PATIENCE) as thief:
        assert "Sign in" in thief.get("/").text
    client.close()


def test_texts_of_others_are_shown_and_never_run(served):
    owner, operator = served.key("tune", "ask", name=HOSTILE[:-1]), served.key("operate")
    fill(served, owner)
    client, _, page = signed_in(served, operator[1])
    assert "<script>document" not in page.text and "\u202e" not in page.text
    assert "default-src 'none'" in page.headers["content-security-policy"]
    client.close()


@pytest.mark.long
@pytest.mark.parametrize("width", [390, 1280])
def test_in_a_browser_it_is_live_readable_and_asks_nobody_else(served, tmp_path, width):
    owner, operator = served.key("tune", "ask", name="shop assistant"), served.key("operate", name="op")
    jobs = fill(served, owner)
    with chromium.Chromium(tmp_path) as browser:
        page = browser.open(served.url + "/", width=width)
        page.run(
            f"document.getElementById('key').value = {operator[1]!r}; document.querySelector('form.stack').submit()"
        )
        until(page, "document.querySelectorAll('.curve path').length == 2")
        look_at(page, f"console-{width}")
        with served.service.database.writing() as session:
            session.query(Job).where(Job.id == jobs[0]).one().status = "succeeded"
        until(page, "document.body.innerText.includes('succeeded')")
        page.call("Page.navigate", url=f"{served.url}/console/jobs/{jobs[1]}")
        until(page, "document.body.innerText.includes('What was decided by')")
        look_at(page, f"console-job-{width}")
        assert page.faults() == []
        assert {url.split("/")[2] for url in page.requests() if url.startswith("http")} == {served.url.split("/")[2]}


def until(page, condition):
    wait_until(lambda: page.run(f"Boolean(document.body) && {condition}"))


def look_at(page, name):
    """No text runs out of the page, contrast and labels are right; HOLDFAST_SHOTS keeps a picture."""
    import base64
    import os
    from pathlib import Path

    if folder := os.environ.get("HOLDFAST_SHOTS"):
        shot = page.call("Page.captureScreenshot", captureBeyondViewport=True)["data"]
        (Path(folder) / f"{name}.png").write_bytes(base64.b64decode(shot))
    assert page.run("document.documentElement.scrollWidth <= window.innerWidth"), name
    page.call("Runtime.evaluate", expression=chromium.axe())
    found = page.run(
        "axe.run({resultTypes: ['violations']}).then(r => r.violations.map(v => v.id + ': ' + v.nodes[0].html))"
    )
    assert found == [], name


def read(served, job_id):
    with served.service.database.reading() as session:
        return session.query(Job).where(Job.id == job_id).one()
