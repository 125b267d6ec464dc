"""Public benchmarks by their name alone: brought from the Hub, at a revision that is recorded, counted and hashed."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from holdfast.core.audit_record import BroughtSet
from holdfast.core.errors import DataError
from holdfast.core.files import private_cache, write_atomically
from holdfast.core.types import content_hash

HUB = "https://huggingface.co"
COMMIT = re.compile("[0-9a-f]{40}")


@dataclass(frozen=True)
class Public:
    """A benchmark on the Hub."""

    repo: str
    """The data set's id."""
    files: tuple[str, ...]
    revision: str
    """A commit; or a branch, where no commit is known that was checked: then the commit that came is recorded."""
    license: str
    gated: bool = False
    """Whether the Hub gives it only to those who were granted access."""
    settings: dict[str, Any] = field(default_factory=dict)
    """How a study reads it: `kind` and what else is needed beside the file."""
    measures: str = "harmfulness"
    prompts: int = 0
    """How many prompts upstream publishes, where the kind does not know it."""
    sha256: tuple[str, ...] = ()
    """What the files must have at this revision, where it is known."""


def _columns(category: str = "category") -> dict[str, Any]:
    return {"kind": "generic", "columns": {"prompt": "prompt", "category": category}}


_JBB, _OR = "886acc352a31533ffbcf4ef22c744658688086fc", "e36d8b80e81837c8a8f264bbb2a49f1b32c7e272"

PUBLIC = {
    "jailbreakbench": Public(
        "JailbreakBench/JBB-Behaviors", ("data/harmful-behaviors.csv",), _JBB, "MIT",
        settings={"kind": "jailbreakbench"},
        sha256=("4a8ec6832056b631eb092dccc60d37a61c3d441268268888b3d006288afeffa1",),
    ),
    "jailbreakbench-benign": Public(
        "JailbreakBench/JBB-Behaviors", ("data/benign-behaviors.csv",), _JBB, "MIT",
        settings={"kind": "jailbreakbench", "split": "benign"}, measures="over_refusal",
        sha256=("3cda234d21a991fa309bbfea4b6d9dae31ccdf8e9d452424b6a983e4fdc33468",),
    ),
    "strongreject": Public(
        "walledai/StrongREJECT", ("data/train-00000-of-00001.parquet",), "main", "MIT", gated=True,
        settings=_columns(), prompts=313,
    ),
    "harmbench": Public(
        "walledai/HarmBench", ("standard/train-00000-of-00001.parquet",), "main", "MIT", gated=True,
        settings=_columns(), prompts=200,
    ),
    "advbench": Public(
        "walledai/AdvBench", ("data/train-00000-of-00001.parquet",), "main", "MIT", gated=True,
        settings={"kind": "generic", "category": "AdvBench"}, prompts=520,
    ),
    "hex-phi": Public(
        "LLM-Tuning-Safety/HEx-PHI", tuple(f"category_{n}.csv" for n in (1, *range(3, 12))), "main",
        "HEx-PHI Agreement", gated=True, settings={"kind": "hex-phi"},
    ),
    "sorry-bench": Public(
        "sorry-bench/sorry-bench-202503", ("question.jsonl",), "main", "SORRY-Bench Dataset License Agreement",
        gated=True, settings={"kind": "sorry-bench"},
    ),
    "or-bench-toxic": Public(
        "bench-llm/or-bench", ("or-bench-toxic.csv",), _OR, "CC BY 4.0",
        settings={"kind": "or-bench", "subset": "toxic"},
    ),
    "or-bench": Public(
        "bench-llm/or-bench", ("or-bench-hard-1k.csv",), _OR, "CC BY 4.0", settings={"kind": "or-bench"},
        measures="over_refusal", sha256=("a6e2f1166416efe5901f3bb05c47dc92ab3aca3acfe143693d38b8057d841e6d",),
    ),
    "xstest": Public(
        "Paul/XSTest", ("xstest_prompts.csv",), "main", "CC BY 4.0", settings={"kind": "xstest"},
        measures="over_refusal",
    ),
}  # fmt: skip
"""Name → where it is. docs/audit.md says which are pinned by a commit."""


@dataclass(frozen=True)
class Brought:
    """A benchmark that was brought from the Hub."""

    settings: dict[str, Any]
    """The settings by which a study reads it."""
    source: BroughtSet
    """Where it came from."""


def bring(name: str) -> Brought:
    """Bring a benchmark from the Hub, or take it from the Hub's cache on this machine.

    Raises:
        DataError: access was not granted, nothing answers, or the content is another than it was at this revision.
    """
    public = PUBLIC[name]
    paths = [_fetch(name, public, file) for file in public.files]
    commit = _commit_of(paths[0], public.files[0])
    digests = tuple(hashlib.sha256(path.read_bytes()).hexdigest() for path in paths)
    _check_content(name, public, commit, digests)
    where = {"files": list(map(str, paths))} if public.settings["kind"] == "hex-phi" else {"file": str(paths[0])}
    source = BroughtSet(name, public.repo, commit, bool(COMMIT.fullmatch(public.revision)), public.license,
                        dict(zip(public.files, digests, strict=True)))  # fmt: skip
    return Brought({**public.settings, **where}, source)


def _fetch(name: str, public: Public, file: str) -> Path:
    from huggingface_hub import hf_hub_download

    with _explained(name, public, file):
        return Path(
            hf_hub_download(
                public.repo, file, repo_type="dataset", revision=public.revision,
                endpoint=os.environ.get("HF_ENDPOINT"),
            )
        )  # fmt: skip


def _commit_of(path: Path, file: str) -> str:
    """The commit that came: the name of the snapshot's folder in the Hub's cache."""
    return path.parts[-1 - len(Path(file).parts)]


def _check_content(name: str, public: Public, commit: str, digests: tuple[str, ...]) -> None:
    """Refuse a content other than the known one, or than the one that first came at this commit.

    Raises:
        DataError: it has changed.
    """
    remembered = private_cache("benchmarks") / f"{content_hash([public.repo, commit, public.files])}.json"
    known = list(public.sha256)
    if not known and remembered.is_file():
        known = _read(remembered)
    if known and known != list(digests):
        raise DataError(
            f"{name}: the files of {public.repo} at {commit} have the SHA-256 {', '.join(digests)}, where "
            f"{', '.join(known)} was expected. A commit's content does not change, so the download is damaged, or the "
            f"server is not the Hub. Delete the data set from the Hub's cache (`hf cache`) and try again; or name a "
            f"file that you trust: --benchmark FILE."
        )
    if not known:
        write_atomically(remembered, json.dumps(list(digests)) + "\n")


def _read(path: Path) -> list[str]:
    """The digests that a file of the cache holds; none if it is damaged."""
    try:
        digests = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return []
    return [str(digest) for digest in digests] if isinstance(digests, list) else []


@contextmanager
def _explained(name: str, public: Public, file: str) -> Iterator[None]:
    """Errors of the Hub as messages that say what to do."""
    from huggingface_hub import errors

    page = f"{HUB}/datasets/{public.repo}"
    by_hand = (
        f"Or bring {page}/resolve/{public.revision}/{file} to this machine in another way, and name the file: "
        f"`--benchmark FILE`, or `--benchmark '{_by_hand(public)}'`."
    )
    try:
        yield
    except errors.GatedRepoError:
        raise DataError(
            f"{name}: the Hub gives {public.repo} only to those who were granted access. Ask for it at {page}, make a "
            f"token at {HUB}/settings/tokens, and set it in HF_TOKEN (or `hf auth login`). {by_hand}"
        ) from None
    except (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled) as error:
        raise DataError(
            f"{name}: the Hub cannot be reached ({_short(error)}), and {file} of {public.repo} is not in its cache on "
            f"this machine. {by_hand}"
        ) from None
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError, errors.EntryNotFoundError) as error:
        access = " A gated data set can look missing to those without access: is HF_TOKEN set?" if public.gated else ""
        raise DataError(
            f"{name}: the Hub has no {file} in {public.repo} at {public.revision} ({_short(error)}).{access} {by_hand}"
        ) from None
    except Exception as error:
        if not (_of_the_connection(error) or isinstance(error, errors.HfHubHTTPError | OSError)):
            raise
        raise DataError(f"{name}: {file} of {public.repo} did not come whole: {_short(error)}. {by_hand}") from None


def _of_the_connection(error: BaseException) -> bool:
    """Whether the connection failed. Versions of huggingface_hub differ in whose error that is; all have this name."""
    return any(kind.__name__ == "TransportError" for kind in type(error).__mro__)


def _by_hand(public: Public) -> str:
    settings = ", ".join(f"{key}: {value}" for key, value in public.settings.items() if isinstance(value, str))
    return f"{{{settings}, {'files: FOLDER' if public.settings['kind'] == 'hex-phi' else 'file: FILE'}}}"


def _short(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
