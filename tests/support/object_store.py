"""An S3 server on this machine, and how it is made to fail."""

import threading
from contextlib import contextmanager

BUCKET = "holdfast"


class Failing:
    """A WSGI application in front of the server: it refuses as many requests as it is told to."""

    def __init__(self, application):
        self.application = application
        self.left = 0
        """Requests that are still refused."""
        self.refused = 0
        self.writes = []
        """Keys that were written, in their order."""

    def __call__(self, environment, start):
        if self.left > 0:
            self.left -= 1
            self.refused += 1
            body = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
            start("503 Slow Down", [("Content-Type", "application/xml"), ("Content-Length", str(len(body)))])
            return [body]
        if environment["REQUEST_METHOD"] == "PUT":
            self.writes.append(environment["PATH_INFO"].removeprefix(f"/{BUCKET}/"))
        return self.application(environment, start)


@contextmanager
def object_store(patch):
    """A server with an empty bucket. All processes that are started meanwhile find it by their environment."""
    import boto3
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    failing = Failing(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, failing, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    address = f"http://127.0.0.1:{server.server_port}"
    keys = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_DEFAULT_REGION": "us-east-1"}
    for name, value in {**keys, "AWS_ENDPOINT_URL": address}.items():
        patch.setenv(name, value)
    boto3.client("s3").create_bucket(Bucket=BUCKET)
    failing.writes.clear()
    try:
        yield failing
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
