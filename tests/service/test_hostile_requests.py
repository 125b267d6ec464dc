"""Requests that are too large, too slow, malformed or sly: a clear error, and nothing left behind."""

import gzip
import io
import json
import socket
import threading
import time
import zipfile
from pathlib import Path

import openai
import pytest
from service.attacks import is_held
from support.service_double import ROWS, serving
from support.waiting import PATIENCE, wait_until

from holdfast.service.database import File, new_id
from holdfast.service.routes.files import MOST_LISTED

pytestmark = pytest.mark.long

LIMITS = {
    "file_bytes": 200_000,
    "body_bytes": 50_000,
    "idle_seconds": 2,
    "upload_seconds": 4,
    "total_bytes": 600_000,
}


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("service"), {"limits": LIMITS}) as served:
        yield served


@pytest.fixture(scope="module")
def client(served):
    return served.client("tune", "ask")


@pytest.fixture(autouse=True)
def nothing_is_left(served):
    yield
    wait_until(lambda: not list(served.service.store.spool.iterdir()) and not served.service.uploads)


def send(served, client, head, *pieces, wait=0.0):
    """Send raw bytes, and read what is answered until the connection closes."""
    with socket.create_connection(("127.0.0.1", served.port), timeout=PATIENCE) as connection:
        key = f"Authorization: Bearer {client.api_key}\r\nHost: x\r\nConnection: close\r\n"
        connection.sendall(f"{head}\r\n{key}\r\n".encode())
        try:
            for piece in pieces:
                connection.sendall(piece)
                time.sleep(wait)
        except OSError:
            pass  # the service closed it
        answered = b""
        try:
            while piece := connection.recv(65536):
                answered += piece
        except ConnectionResetError:
            pass
    return answered


def status_of(answered):
    return int(answered.split(b" ", 2)[1]) if answered.startswith(b"HTTP/1.1") else None


def part(content, name="x.jsonl", purpose="fine-tune"):
    return (
        b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\n' + purpose.encode() + b"\r\n"
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="' + name.encode() + b'"\r\n\r\n' + content
    )


UPLOAD = "POST /v1/files HTTP/1.1\r\nContent-Type: multipart/form-data; boundary=b"


def chunk(data):
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def test_a_file_over_the_limit_is_refused_with_413(client, served):
    for size in (200_001, 5_000_000):
        with pytest.raises(openai.APIStatusError) as raised:
            client.files.create(file=("x.jsonl", b"a" * size), purpose="fine-tune")
        assert raised.value.status_code == 413 and "200,000 bytes" in str(raised.value)


def test_a_body_over_the_limit_is_refused_with_413_whether_its_length_is_told_or_not(client, served):
    with pytest.raises(openai.APIStatusError) as raised:
        client.chat.completions.create(model="pocket", messages=[{"role": "user", "content": "a" * 60_000}])
    assert raised.value.status_code == 413
    head = "POST /v1/chat/completions HTTP/1.1\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked"
    answered = send(served, client, head, *[chunk(b"a" * 10_000)] * 10, b"0\r\n\r\n")
    assert status_of(answered) == 413


def test_an_upload_that_never_ends_is_ended(client, served):
    pieces = [chunk(part(b"a" * 100))] + [chunk(b"a" * 50_000)] * 100_000
    begun = time.monotonic()
    answered = send(served, client, f"{UPLOAD}\r\nTransfer-Encoding: chunked", *pieces)
    assert status_of(answered) in (413, None)
    assert time.monotonic() - begun < 60


@pytest.mark.parametrize("head", [UPLOAD, "POST /v1/fine_tuning/jobs HTTP/1.1\r\nContent-Type: application/json"])
def test_a_client_that_stops_sending_gets_a_408(client, served, head):
    answered = send(served, client, f"{head}\r\nContent-Length: 10000", b"--b\r\n", wait=1.5)
    assert status_of(answered) == 408


def test_a_client_that_sends_a_byte_now_and_then_gets_a_408(client, served):
    answered = send(served, client, f"{UPLOAD}\r\nContent-Length: 10000", part(b""), *[b"a"] * 50, wait=0.1)
    assert status_of(answered) == 408


def test_a_client_that_goes_in_the_middle_of_an_upload_leaves_nothing(client, served, caplog):
    before = len(list(client.files.list()))
    with socket.create_connection(("127.0.0.1", served.port)) as connection:
        key = f"Authorization: Bearer {client.api_key}\r\nHost: x"
        connection.sendall(f"{UPLOAD}\r\n{key}\r\nContent-Length: 100000\r\n\r\n".encode() + part(ROWS))
    time.sleep(0.3)
    assert len(list(client.files.list())) == before
    assert "an error of ours" not in caplog.text


def zipped():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("rows.jsonl", b"a" * 10_000_000)
    return file.getvalue()


@pytest.mark.parametrize("bomb", [gzip.compress(b"a" * 10_000_000), zipped()], ids=["gzip", "zip"])
def test_a_compressed_file_is_refused(client, bomb):
    with pytest.raises(openai.BadRequestError, match="compressed"):
        client.files.create(file=("rows.jsonl", bomb), purpose="fine-tune")


def test_a_compressed_body_is_refused_unread(client, served):
    body = gzip.compress(b'{"a":' + b" " * 10_000_000 + b"1}")
    headers = {"Authorization": f"Bearer {client.api_key}", "Content-Encoding": "gzip"}
    for path in ("chat/completions", "files", "fine_tuning/jobs"):
        answer = served.http.post(f"{served.url}/v1/{path}", content=body, headers=headers)
        assert answer.status_code == 400 and answer.json()["error"]["code"] == "unsupported_encoding"


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("../../../../etc/passwd", "passwd"), ("/etc/shadow", "shadow"), ("C:\\Windows\\x.jsonl", "x.jsonl"),
        ("..", ".."), ("a\x1b[31mb", "a[31mb"), ("x" * 400, "x" * 255), ("<script>alert(1)</script>", "script>"),
        ("\u202etxt.exe", "txt.exe"), ("", "file"),
    ],
)  # fmt: skip
def test_a_files_name_is_shown_and_never_a_path(client, served, given, shown):
    before = set(served.service.folder.parent.rglob("*"))
    body = part(ROWS, given.replace("\\", "\\\\")) + b"\r\n--b--\r\n"
    answered = send(served, client, f"{UPLOAD}\r\nContent-Length: {len(body)}", body)
    assert status_of(answered) == 200, answered
    made = json.loads(answered.split(b"\r\n\r\n", 1)[1])
    assert made["filename"] == shown
    new = set(served.service.folder.parent.rglob("*")) - before
    assert {path.name for path in new if not path.name.startswith("service.db")} == {made["id"]}
    assert client.files.content(made["id"]).read() == ROWS
    client.files.delete(made["id"])


TRICKS = ["..%2f..%2fservice.db", "..%2F..%2F..%2Fetc%2Fpasswd", "%2e%2e", "file-%00", "file-..", "a%0d%0aX-Evil:1", "%ff%fe",
          "file-'%20OR%201=1--", "*", "%25s%25n", "x" * 3000]  # fmt: skip


@pytest.mark.parametrize("trick", TRICKS, ids=range(len(TRICKS)))
@pytest.mark.parametrize("path", ["files/{}", "files/{}/content", "fine_tuning/jobs/{}", "models/{}", "batches/{}"])
def test_a_trick_in_an_id_finds_nothing(client, served, path, trick):
    answered = send(served, client, f"GET /v1/{path.format(trick)} HTTP/1.1")
    assert status_of(answered) == 404
    assert b"X-Evil" not in answered.split(b"\r\n\r\n")[0]


MALFORMED = {
    "no boundary": ("POST /v1/files HTTP/1.1\r\nContent-Type: multipart/form-data", part(ROWS) + b"\r\n--b--\r\n"),
    "json": ("POST /v1/files HTTP/1.1\r\nContent-Type: application/json", b"{}"),
    "cut off": (UPLOAD, part(ROWS)),
    "another boundary": (UPLOAD, part(ROWS).replace(b"--b", b"--c")),
    "no file": (UPLOAD, b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nfine-tune\r\n--b--\r\n'),
    "two files": (UPLOAD, part(ROWS) + b"\r\n" + part(ROWS) + b"\r\n--b--\r\n"),
    "many fields": (UPLOAD, b"".join(b'--b\r\nContent-Disposition: form-data; name="%d"\r\n\r\n1\r\n' % n for n in range(99)) + b"--b--\r\n"),
    "a long field": (UPLOAD, part(ROWS, purpose="x" * 10_000) + b"\r\n--b--\r\n"),
    "a long header": (UPLOAD, part(ROWS, name="x" * 10_000) + b"\r\n--b--\r\n"),
    "nothing": (UPLOAD, b""),
}  # fmt: skip


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_form_is_refused_with_400(client, served, name):
    head, body = MALFORMED[name]
    answered = send(served, client, f"{head}\r\nContent-Length: {len(body)}", body)
    assert status_of(answered) == 400
    assert "message" in json.loads(answered.split(b"\r\n\r\n", 1)[1])["error"]


BODIES = {
    "empty": b"", "no json": b"{", "a number": b"1", "a list": b"[]", "deep": b"[" * 20_000, "deep and closed": b"[" * 9_000 + b"]" * 9_000,
    "not utf-8": b'{"model": "\xff"}', "half a character": b'{"model": "\\ud800", "messages": [{"role": "user", "content": "\\ud800"}]}',
    "a huge number": b'{"model": "pocket", "messages": [], "seed": ' + b"9" * 5_000 + b"}", "NaN": b'{"model": "pocket", "temperature": NaN}',
    "a key twice": b'{"model": "a", "model": "b"}', "NUL": b'{"model": "\\u0000", "training_file": "\\u0000"}',
}  # fmt: skip


@pytest.mark.parametrize("name", BODIES)
@pytest.mark.parametrize("path", ["chat/completions", "fine_tuning/jobs", "batches"])
def test_a_malformed_body_is_refused_without_a_word_of_it(client, served, name, path):
    headers = {"Authorization": f"Bearer {client.api_key}", "Content-Type": "application/json"}
    answer = served.http.post(f"{served.url}/v1/{path}", content=BODIES[name], headers=headers)
    assert answer.status_code in (400, 404), answer.text
    assert len(answer.content) < 600


def test_half_a_character_in_a_prompt_is_refused_not_a_5xx(client, served):
    headers = {"Authorization": f"Bearer {client.api_key}", "Content-Type": "application/json"}
    for place in ('"content": "\\ud800"', '"content": [{"type": "text", "text": "\\udfff"}]'):
        body = f'{{"model": "pocket", "messages": [{{"role": "user", {place}}}]}}'
        answer = served.http.post(f"{served.url}/v1/chat/completions", content=body, headers=headers)
        assert answer.status_code == 400


def test_a_key_that_keeps_too_much_is_refused(served):
    client = served.client("tune")
    files = [client.files.create(file=("x.jsonl", b"a" * 190_000), purpose="fine-tune") for _ in range(3)]
    with pytest.raises(openai.APIStatusError, match="in all") as raised:
        client.files.create(file=("x.jsonl", b"a" * 190_000), purpose="fine-tune")
    assert raised.value.status_code == 413
    client.files.delete(files[0].id)
    client.files.create(file=("x.jsonl", b"a" * 190_000), purpose="fine-tune")


def test_a_reader_that_does_not_read_is_given_up(client, served):
    served.engine.script = lambda question: ("word" * 20_000 + " ") * 500
    try:
        body = json.dumps(
            {"model": "pocket", "messages": [{"role": "user", "content": "slow"}], "stream": True, "max_tokens": 500}
        )
        with socket.socket() as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.connect(("127.0.0.1", served.port))
            key = f"Authorization: Bearer {client.api_key}\r\nHost: x\r\nContent-Type: application/json"
            connection.sendall(
                f"POST /v1/chat/completions HTTP/1.1\r\n{key}\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()
            )
            wait_until(lambda: "slow" in served.engine.given_up)
        assert client.models.list()
    finally:
        served.engine.script = lambda question: f"You asked: {question}"


def test_a_key_that_asks_too_often_gets_a_429_that_says_when_to_come_back(tmp_path):
    with serving(tmp_path, {"limits": {"requests_per_minute": 6}}) as served:
        client, other = served.client("ask"), served.client("ask")
        for _ in range(6):
            client.models.list()
        with pytest.raises(openai.RateLimitError) as raised:
            client.models.list()
        assert 1 <= int(raised.value.response.headers["retry-after"]) <= 10
        assert other.models.list()


def test_more_answers_than_may_wait_get_a_429(tmp_path):
    limits = {"concurrent_chats": 1, "waiting_chats": 1}
    with serving(tmp_path, {"limits": limits}) as served:
        served.engine.pause, served.engine.script = 0.1, lambda question: "word " * 1000
        client = served.client("ask")
        asked = {"model": "pocket", "messages": [{"role": "user", "content": "a"}]}
        streams = [client.chat.completions.create(**asked, stream=True)]
        waiting = threading.Thread(target=lambda: client.chat.completions.create(**asked))
        waiting.start()
        wait_until(lambda: served.service.waiting == 2)
        with pytest.raises(openai.RateLimitError):
            client.chat.completions.create(**asked)
        served.engine.pause = 0
        assert len(list(streams[0])) > 2
        waiting.join(PATIENCE)
        assert served.engine.most_at_once == 1


on_linux = pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="only Linux tells what a service holds")


@on_linux
@pytest.mark.parametrize(
    "sent", [b"", b"GET /v1/models HTTP/1.1\r\nHost: x\r\nX-Long: "], ids=["nothing", "half a request"]
)
def test_a_connection_that_begins_no_request_is_closed(served, sent):
    with socket.create_connection(("127.0.0.1", served.port)) as connection:
        connection.sendall(sent)
        wait_until(lambda: not is_held(served.port, connection))


@on_linux
def test_a_whole_answer_that_nobody_reads_does_not_stay_in_memory(served):
    client, row = served.client("tune"), served.key("tune")
    owner = row[0].id
    with served.service.database.writing() as session:
        session.add_all(
            File(id=new_id("file-"), owner=owner, filename="f" * 255, purpose="batch", bytes=1, sha256="", created_at=0,
                 status="processed", status_details=None) for _ in range(600)
        )  # fmt: skip
    reader = served.client(secret=row[1])
    first = reader.files.list()
    assert len(first.data) == MOST_LISTED and first.has_more and len(list(reader.files.list())) == 600
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", served.port))
        connection.sendall(f"GET /v1/files HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {row[1]}\r\n\r\n".encode())
        assert is_held(served.port, connection)
        wait_until(lambda: not is_held(served.port, connection))
    assert client.models.list()


def test_a_slow_reader_gets_its_whole_answer(served):
    client = served.client("tune")
    file = client.files.create(file=("x.jsonl", b"x" * 190_000), purpose="fine-tune")
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", served.port))
        head = f"GET /v1/files/{file.id}/content HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {client.api_key}"
        connection.sendall(f"{head}\r\n\r\n".encode())
        answered = b""
        while piece := connection.recv(16_000):
            answered += piece
            time.sleep(0.3)  # twice the patience of the service, in all
    assert answered.endswith(b"x" * 190_000)


def test_the_body_of_a_stranger_is_not_read(served):
    head = "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 40000"
    with socket.create_connection(("127.0.0.1", served.port), timeout=PATIENCE) as connection:
        connection.sendall(f"{head}\r\nAuthorization: Bearer sk-holdfast-x\r\n\r\n".encode())
        assert connection.recv(12) == b"HTTP/1.1 401"


def test_one_key_cannot_take_the_memory_for_bodies_from_another(tmp_path):
    limits = {"waiting_bytes": 400_000, "idle_seconds": 5}
    with serving(tmp_path, {"limits": limits}) as served:
        mine, other = served.client("ask"), served.client("ask")
        key = f"Authorization: Bearer {mine.api_key}\r\nHost: x\r\nContent-Type: application/json"
        connections = [socket.create_connection(("127.0.0.1", served.port), timeout=PATIENCE) for _ in range(8)]
        try:
            for connection in connections:
                connection.sendall(
                    f"POST /v1/chat/completions HTTP/1.1\r\n{key}\r\nContent-Length: 90001\r\n\r\n".encode()
                    + b" " * 90_000
                )
            answers = [connection.recv(12) for connection in connections]
        finally:
            for connection in connections:
                connection.close()
        assert answers.count(b"HTTP/1.1 429") == 7 and answers.count(b"HTTP/1.1 408") == 1
        asked = {"model": "pocket", "messages": [{"role": "user", "content": "a" * 80_000}]}
        assert other.chat.completions.create(**asked).usage


def test_one_key_cannot_keep_another_from_uploading(tmp_path):
    with serving(tmp_path, {"limits": {"concurrent_uploads": 4, "idle_seconds": 60}}) as served:
        mine, other = served.client("tune"), served.client("tune")
        key = f"Authorization: Bearer {mine.api_key}\r\nHost: x\r\nContent-Length: 10000"
        connections = [socket.create_connection(("127.0.0.1", served.port), timeout=PATIENCE) for _ in range(6)]
        try:
            for connection in connections:
                connection.sendall(f"{UPLOAD}\r\n{key}\r\n\r\n".encode() + part(b"x"))
            wait_until(lambda: served.service.uploads.total() == 2)
            assert other.files.create(file=("x.jsonl", ROWS), purpose="fine-tune").status == "processed"
            with pytest.raises(openai.RateLimitError):
                mine.files.create(file=("x.jsonl", ROWS), purpose="fine-tune")
        finally:
            for connection in connections:
                connection.close()


def test_a_body_that_swells_when_it_is_read_is_refused(client, served):
    body = b'{"model": "pocket", "messages": [' + b"{}," * 200_000 + b"{}]}"
    with serving(served.service.folder / "roomy") as roomy:
        headers = {"Authorization": f"Bearer {roomy.client('ask').api_key}", "Content-Type": "application/json"}
        answer = roomy.http.post(f"{roomy.url}/v1/chat/completions", content=body, headers=headers)
    assert answer.status_code == 400 and answer.json()["error"]["code"] == "body_too_complex"


def test_a_compressed_file_whose_first_bytes_come_one_by_one_is_refused(client, served):
    packed = gzip.compress(ROWS)
    pieces = [
        chunk(part(packed[:1])),
        *(chunk(packed[n : n + 1]) for n in range(1, 9)),
        chunk(packed[9:] + b"\r\n--b--\r\n"),
    ]
    answered = send(served, client, f"{UPLOAD}\r\nTransfer-Encoding: chunked", *pieces, b"0\r\n\r\n", wait=0.05)
    assert status_of(answered) == 400 and b"compressed" in answered
