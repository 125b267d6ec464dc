"""10,000 rows with pictures, as LLaVA-Instruct's: read, each picture looked at once, in seconds and memory.

    python speed/pictures.py [ROWS]

The pictures are made up: JPEGs of 640 × 480 pixels with about 60 kB, as COCO's are, each in a file of its own.
"""

import json
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from holdfast.data.training.visual import LLaVA

ROWS = 10_000


def write(folder, n):
    """Rows, and a picture for each: some of noise, each again under other names, with bytes of their own at the end."""
    photos = folder / "train2017"
    photos.mkdir()
    made = []
    for seed in range(20):
        noise = np.random.default_rng(seed).integers(0, 255, (480, 640, 3), dtype=np.uint8)
        path = folder / f"{seed}.jpg"
        Image.fromarray(noise).filter(ImageFilter.GaussianBlur(1.0)).save(path, quality=80)
        made.append(path.read_bytes())
    for i in range(n):
        (photos / f"{i:012d}.jpg").write_bytes(made[i % len(made)] + str(i).encode())
    text = "It is a picture of nothing in particular, with many colours and no shapes that one could name. " * 5
    rows = [
        {"id": str(i), "image": f"{i:012d}.jpg", "conversations": [
            {"from": "human", "value": "<image>\nWhat is in this picture?"}, {"from": "gpt", "value": text},
            {"from": "human", "value": "And what is behind it?"}, {"from": "gpt", "value": text},
        ]}
        for i in range(n)
    ]  # fmt: skip
    (folder / "rows.json").write_text(json.dumps(rows))
    return sum(map(len, made)) / len(made)


def main():
    n = int(sys.argv[1]) if len(sys.argv) > 1 else ROWS
    with tempfile.TemporaryDirectory() as folder:
        size = write(Path(folder), n)
        begun, worked = time.perf_counter(), time.process_time()
        rows = LLaVA(file=Path(folder) / "rows.json", images=Path(folder) / "train2017").examples(0)
        seconds, processor = time.perf_counter() - begun, time.process_time() - worked
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"{len(rows):,} rows, pictures of {size / 1000:.0f} kB: {seconds:.0f} s, {processor:.0f} s of a processor")
    print(f"{memory:.2f} GB at most")
    out = Path("runs/bench/pictures.json")
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps({"rows": len(rows), "seconds": seconds, "gb": memory}, indent=1))


if __name__ == "__main__":
    main()
