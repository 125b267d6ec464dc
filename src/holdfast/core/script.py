"""The script that uses us as a library, and our worker processes."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def script_left_alone() -> Iterator[None]:
    """Keep worker processes from running the script that calls us once more, as multiprocessing has them do.

    They need nothing of it, and a script would then not have to guard its lines by `if __name__ == "__main__"`.
    """
    main = sys.modules["__main__"]
    kept = {name: getattr(main, name) for name in ("__spec__", "__file__") if hasattr(main, name)}
    main.__spec__ = None
    main.__dict__.pop("__file__", None)
    try:
        yield
    finally:
        main.__dict__.update(kept)
