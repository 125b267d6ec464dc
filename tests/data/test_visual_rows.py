"""Rows with pictures: layouts, places, and what is wrong with them."""

import io
import json
import os
import struct
import tarfile
import zipfile
import zlib

import pytest
from pydantic import ValidationError
from support.visual import album, llava_row, photo

from holdfast.core import pictures
from holdfast.core.errors import DataError
from holdfast.core.looking import PictureError
from holdfast.data.training.visual import LLaVA, MessagesImages


def bomb():
    """A PNG of some hundred bytes that says that it has 30,000 × 30,000 pixels."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")
    )


def exif(orientation):
    """A JPEG with an EXIF block that says how it is turned."""
    block = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01" + struct.pack(">H", orientation) + b"\0\0\0\0\0\0"
    return photo(exif=block)


def moving():
    from PIL import Image

    frames = [Image.new("RGB", (20, 20), colour) for colour in ("red", "blue")]
    with io.BytesIO() as file:
        frames[0].save(file, "GIF", save_all=True, append_images=frames[1:])
        return file.getvalue()


def turned_away(row):
    row["conversations"].reverse()
    return row


PICTURES = {
    "cut.jpg": photo()[:-300], "cut.png": photo(form="PNG")[:-300], "bomb.png": bomb(), "page.jpg": b"<!DOCTYPE html><p>404",
    "empty.jpg": b"", "drawing.jpg": b"<svg xmlns='http://www.w3.org/2000/svg'/>", "line.png": photo(0, 2000, 2, "PNG"),
    "turned.jpg": exif(9), "exif.jpg": photo(exif=b"Exif\0\0nothing of the kind"), "moving.gif": moving(),
    "scan.jpg": photo(form="TIFF"), "lfs.jpg": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
}  # fmt: skip

FAULTS = {
    "missing image": (llava_row("9.jpg"), "the picture '9.jpg' is not in "),
    "two marks": (llava_row(question="<image>\n<image>\nWhat?"), "it has 2 <image> mark(s) and names 1 picture(s)"),
    "no mark": (llava_row(question="What?"), "it has 0 <image> mark(s) and names 1 picture(s)"),
    "mark without image": (llava_row(None), "it has 1 <image> mark(s), but names no picture"),
    "mark in the answer": (llava_row(answer="A <image>."), "turn 2 (assistant) has an <image> mark"),
    "empty turn": (llava_row(answer=" "), "turn 2 (assistant) has no text"),
    "only a mark": (llava_row(question="<image>"), "turn 1 (user) shows a picture and asks nothing"),
    "unknown speaker": (
        {"image": "0.jpg", "conversations": [{"from": "robot", "value": "<image>?"}]},
        "turn 1 is from 'robot'",
    ),
    "answer first": (turned_away(llava_row()), "turn 1 is the assistant's where the user's was expected"),
    "no answer": (
        {"image": "0.jpg", "conversations": [{"from": "human", "value": "<image>?"}]},
        "it does not end with an assistant",
    ),
    "no turns": ({"image": "0.jpg", "conversations": "text"}, "'conversations' must be a list of turns"),
    "number for a name": (llava_row(7), "'image' must name a picture, found 7"),
    "empty name": (llava_row(" "), "has no name that a file can have"),
    "out of the folder": (llava_row("../secret.jpg"), "leads out of the folder of pictures"),
    "absolute name": (llava_row("/etc/passwd"), "leads out of the folder of pictures"),
    "folder": (llava_row("sub"), "is no file"),
    "half a character": (llava_row(answer="\ud83d"), "half of a character"),
    "cut JPEG": (llava_row("cut.jpg"), "'cut.jpg' is cut off"),
    "cut PNG": (llava_row("cut.png"), "'cut.png' is cut off"),
    "bomb": (llava_row("bomb.png"), "'bomb.png' is a decompression bomb"),
    "web page": (llava_row("page.jpg"), "'page.jpg' is a web page, and none of JPEG"),
    "empty file": (llava_row("empty.jpg"), "'empty.jpg' is an empty file"),
    "drawing": (llava_row("drawing.jpg"), "'drawing.jpg' is an SVG drawing"),
    "TIFF": (llava_row("scan.jpg"), "'scan.jpg' is a TIFF file"),
    "pointer": (llava_row("lfs.jpg"), "'lfs.jpg' is a pointer of Git LFS"),
    "line": (llava_row("line.png"), "no model sees a line"),
    "impossible orientation": (llava_row("turned.jpg"), "the orientation '9'"),
    "false EXIF": (llava_row("exif.jpg"), "an EXIF block that cannot be read"),
    "moving": (llava_row("moving.gif"), "'moving.gif' moves"),
}


@pytest.fixture
def place(tmp_path):
    rows, photos = album(tmp_path)
    for name, data in PICTURES.items():
        (photos / name).write_bytes(data)
    (photos / "sub").mkdir()
    return rows, photos


def test_each_of_many_planted_faults_is_reported_by_row(place):
    rows, photos = place
    good = llava_row()
    rows.write_text(json.dumps([good, *(row for row, _ in FAULTS.values()), good]))
    source = LLaVA(file=rows, images=photos, bad_rows="drop")
    (account,) = source.accounts()
    assert (account.rows, account.refused, len(source.examples(0))) == (len(FAULTS) + 2, len(FAULTS), 2)
    for number, (row, reason) in enumerate(FAULTS.values(), 2):
        rows.write_text(json.dumps([good] * (number - 1) + [row]))
        with pytest.raises(DataError) as error:
            LLaVA(file=rows, images=photos).examples(0)
        assert f"row {number}: " in str(error.value) and reason in str(error.value)


def test_pictures_lie_in_a_folder_a_zip_or_a_tar(place, tmp_path):
    rows, photos = place
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as file:
        for i in range(4):
            file.write(photos / f"{i}.jpg", f"train2017/{i}.jpg")
    with tarfile.open(tmp_path / "photos.tar", "w") as file:
        for i in range(4):
            file.add(photos / f"{i}.jpg", f"./{i}.jpg")
    every = [
        LLaVA(file=rows, images=each).examples(0) for each in (photos, tmp_path / "photos.zip", tmp_path / "photos.tar")
    ]
    assert {tuple(row.id for row in examples) for examples in every} == {tuple(row.id for row in every[0])}
    assert [row.messages[0].pictures[0].image().size for row in every[1][:4]] == [
        (60, 40),
        (80, 50),
        (100, 60),
        (120, 70),
    ]
    assert every[0][4].messages[0].pictures == ()
    with tarfile.open(tmp_path / "packed.tar", "w:gz") as file:
        file.add(photos / "0.jpg", "0.jpg")
    with pytest.raises(DataError, match="packed with gzip"):
        LLaVA(file=rows, images=tmp_path / "packed.tar").examples(0)
    with pytest.raises(ValidationError, match="say where the pictures lie"):
        LLaVA(file=rows)
    with pytest.raises(ValidationError, match="no folder or archive of pictures"):
        LLaVA(file=rows, images=tmp_path / "photo")


def test_messages_with_images_are_the_same_rows(place, tmp_path):
    rows, photos = place
    text = {
        "messages": [
            {"role": "user", "content": "<image>\nWhat is this?"},
            {"role": "assistant", "content": "Stone 0."},
        ],
        "images": ["0.jpg"],
    }
    parts = [{"type": "image"}, {"type": "text", "text": "What is this?"}]
    listed = {**text, "messages": [{"role": "user", "content": parts}, text["messages"][1]]}
    bad = {**text, "messages": [{"role": "user", "content": [{"type": "video"}]}, text["messages"][1]]}
    (tmp_path / "m.jsonl").write_text("".join(json.dumps(row) + "\n" for row in (text, listed)))
    first = LLaVA(file=rows, images=photos).examples(0)[0]
    assert [row.id for row in MessagesImages(file=tmp_path / "m.jsonl", images=photos).examples(0)] == [first.id] * 2
    (tmp_path / "m.jsonl").write_text(json.dumps(bad))
    with pytest.raises(DataError, match=r"line 1: turn 1 \(user\) is a list of parts"):
        MessagesImages(file=tmp_path / "m.jsonl", images=photos).examples(0)


def test_a_data_set_holds_its_pictures_itself(tmp_path):
    import datasets

    messages = [{"role": "user", "content": "<image>\nWhat is this?"}, {"role": "assistant", "content": "A stone."}]
    features = datasets.Features({
        "messages": [{"role": datasets.Value("string"), "content": datasets.Value("string")}], "images": [datasets.Image()]
    })  # fmt: skip
    rows = {
        "messages": [messages] * 3,
        "images": [[{"bytes": data, "path": None}] for data in (photo(0), photo(1), b"x")],
    }
    (tmp_path / "set").mkdir()
    datasets.Dataset.from_dict(rows, features).to_parquet(str(tmp_path / "set" / "train.parquet"))
    source = MessagesImages(hub=str(tmp_path / "set"), bad_rows="drop")
    one, other = source.examples(0)
    assert source.accounts()[0].refused == 1
    assert one.messages[0].pictures[0].image().size == (60, 40) and one.id != other.id


def test_a_picture_is_what_it_was_when_it_was_looked_at(tmp_path):
    path = tmp_path / "a.jpg"
    path.write_bytes(photo(0))
    seen = pictures.of_file(path)
    assert seen.image().size == (seen.width, seen.height) == (60, 40)
    path.write_bytes(photo(1))
    with pytest.raises(PictureError, match="has changed since the rows were read"):
        seen.image()
    path.unlink()
    with pytest.raises(PictureError, match=r"the picture a.jpg .* is not in"):
        seen.image()


def test_a_camera_that_was_turned_is_believed_as_viewers_do(tmp_path):
    (tmp_path / "a.jpg").write_bytes(exif(6))
    seen = pictures.of_file(tmp_path / "a.jpg")
    assert seen.image().size == (seen.width, seen.height) == (40, 60)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_in_place_of_a_picture_does_not_wait(tmp_path):
    os.mkfifo(tmp_path / "a.jpg")
    with pytest.raises(PictureError, match="is no file"):
        pictures.of_file(tmp_path / "a.jpg")
