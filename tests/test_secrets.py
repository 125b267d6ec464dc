"""No key, token or password stands in a tracked file."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

PATTERNS = {
    "private key": r"-----BEGIN [A-Z ]*PRIVATE KEY-----",
    "OpenAI or Anthropic": r"\bsk-(?=[A-Za-z_-]*\d)[A-Za-z0-9_-]{20,}",
    "Hugging Face": r"\bhf_[A-Za-z0-9]{30,}",
    "GitHub": r"\b(?:gh[pousr]_[A-Za-z0-9]{30,}|github_pat_[A-Za-z0-9_]{30,})",
    "AWS": r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b",
    "Google": r"\bAIza[A-Za-z0-9_-]{35}",
    "Slack": r"\bxox[abprs]-[A-Za-z0-9-]{10,}",
    "PyPI": r"\bpypi-[A-Za-z0-9_-]{50,}",
    "JSON web token": r"\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.",
    "address with a password": r"\b[a-z]+://[^/\s:@'\"{}<>]+:[^/\s:@'\"{}<>]{6,}@",
    "assigned": r"(?i)\b(?:api_?key|secret|token|password)\b[\"']?\s*[:=]\s*[\"'](?=[^\"']*\d)(?=[^\"']*[a-z])[A-Za-z0-9+/_-]{24,}[\"']",
}

PLANTED = {
    "private key": "-----BEGIN RSA " + "PRIVATE KEY-----", "OpenAI or Anthropic": "sk-" + "a1" * 20, "Hugging Face": "hf_" + "a1" * 17,
    "GitHub": "ghp_" + "a1" * 18, "AWS": "AKIA" + "A1" * 8, "Google": "AIza" + "a" * 35, "Slack": "xoxb-" + "1" * 12,
    "PyPI": "pypi-" + "a1" * 30, "JSON web token": "eyJ" + "a" * 12 + ".eyJ" + "b" * 12 + ".c",
    "address with a password": "https://me:" + "hunter22@example.org", "assigned": 'api_key = "' + "a1b2" * 8 + '"',
}  # fmt: skip


def tracked_files():
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if listed.returncode:
        pytest.skip("no git repository here")
    return [ROOT / name for name in listed.stdout.decode().split("\0") if name]


def test_no_tracked_file_holds_a_secret():
    found = []
    for path in tracked_files():
        if path.is_file() and path.suffix not in (".safetensors", ".png"):
            text = path.read_text(encoding="utf-8", errors="replace")
            found += [
                f"{path.relative_to(ROOT)}: {name}" for name, pattern in PATTERNS.items() if re.search(pattern, text)
            ]
    assert not found


@pytest.mark.parametrize("name", PATTERNS)
def test_each_kind_of_secret_would_be_seen(name):
    assert re.search(PATTERNS[name], PLANTED[name])
