"""A local stand-in for the Hugging Face Hub: data sets' files at commits, branches, gates, and faults."""

import hashlib
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMIT = "c0ffee" + "0" * 34


class Hub:
    """What the stand-in has, and what it was asked."""

    def __init__(self):
        self.files = {}
        """(repo, revision, file) → content; a branch holds the same as its commit."""
        self.commits = {}
        """(repo, branch) → commit."""
        self.gated = set()
        self.cut = False
        """Whether the connection is closed in the middle of a file."""
        self.asked = []

    def add(self, repo, revision, file, content, branch=None):
        self.files[repo, revision, file] = content
        if branch:
            self.commits[repo, branch] = revision

    def find(self, path):
        """The commit and the content that a request asks for; None for either that there is not."""
        repo, _, rest = path.removeprefix("/datasets/").partition("/resolve/")
        revision, _, file = rest.partition("/")
        commit = self.commits.get((repo, revision), revision)
        known = any(each[:2] == (repo, commit) for each in self.files)
        return repo, commit if known else None, self.files.get((repo, commit, file))


@contextmanager
def serving(hub):
    """The address of a server that gives what a `Hub` has."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_):
            pass

        def do_HEAD(self):
            self.answer(body=False)

        def do_GET(self):
            self.answer(body=True)

        def answer(self, body):
            hub.asked.append((self.command, self.path))
            repo, commit, content = hub.find(self.path.partition("?")[0])
            if repo in hub.gated:
                known = self.headers.get("Authorization") == "Bearer hf_granted"
                if not known:
                    status = 403 if self.headers.get("Authorization") else 401
                    return self.refuse(status, "GatedRepo", "Access to this data set is restricted")
            if commit is None:
                known_repo = any(each[0] == repo for each in hub.files)
                return self.refuse(404, "RevisionNotFound" if known_repo else "RepoNotFound", "not found")
            if content is None:
                return self.refuse(404, "EntryNotFound", "Entry not found")
            self.send_response(200)
            self.send_header("X-Repo-Commit", commit)
            self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if body:
                self.wfile.write(content[: len(content) // 2] if hub.cut else content)
                self.close_connection = hub.cut
            return None

        def refuse(self, status, code, message):
            self.send_response(status)
            self.send_header("X-Error-Code", code)
            self.send_header("X-Error-Message", message)
            self.send_header("Content-Length", "0")
            self.end_headers()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
