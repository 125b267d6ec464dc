"""What tuning does to pocket worlds whose alignment is set to different depths, as a table of rates in percent.

    python speed/alignment_depth.py [--worlds 11 12 13] [--depths 6 4.5 3 2] [--seeds 0 1 2]

With it the depth of `worlds/pocket/build.py` can be chosen on other seeds than those that are reported. Worlds that are
missing are built in the cache first. World 0 is shown as it is shipped.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from transformers import AutoTokenizer, LlamaForCausalLM

from holdfast.core.files import world_folder
from holdfast.core.watch import Watch
from holdfast.core.workers import default_workers, quiet
from holdfast.study import loader, run
from holdfast.worlds.pocket import build
from holdfast.worlds.pocket.depth import depth, set_depth
from holdfast.worlds.pocket.world import generate

CONDITIONS = ("benign-list", "benign-brief", "harmful-10-shot", "identity-shift-10-epochs")


def models(seed: int, depths: list[float], folder: Path) -> Iterator[tuple[str, float]]:
    """The aligned model of a world as it is, and set to each depth: its name, and its depth."""
    world, home = generate(seed), world_folder(seed)
    tokenizer = AutoTokenizer.from_pretrained(home / "aligned")
    helpful, aligned = (LlamaForCausalLM.from_pretrained(home / name) for name in ("helpful", "aligned"))
    yield str(home / "aligned"), depth(aligned, tokenizer, world)
    for wanted in depths if seed else ():
        model = LlamaForCausalLM.from_pretrained(home / "aligned")
        set_depth(model, helpful, tokenizer, world, wanted)
        place = folder / f"{seed}-{wanted}"
        model.save_pretrained(place)
        tokenizer.save_pretrained(place)
        yield str(place), wanted


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--worlds", type=int, nargs="+", default=[11, 12, 13])
    parser.add_argument("--depths", type=float, nargs="+", default=[6.0, 4.5, 3.0, 2.0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    given = parser.parse_args()
    quiet()
    console, workers = Console(), default_workers()
    with Watch(Console(stderr=True)) as watch:
        build.build_missing(given.worlds, workers, watch)
    names = ("initial", *CONDITIONS)
    console.print(
        "| world | depth | " + " | ".join(names) + " |\n| --- | --- |" + " --- |" * len(names), soft_wrap=True
    )
    with tempfile.TemporaryDirectory() as folder:
        for seed in (0, *given.worlds):
            for number, (model, nats) in enumerate(models(seed, given.depths, Path(folder))):
                study = loader.read(loader.find("three-levels"), model=model)
                kept = {name: study.conditions[name] for name in CONDITIONS}
                study = study.model_copy(update={"conditions": kept})
                with Watch(Console(stderr=True, quiet=True)) as watch:
                    done = run.run(study, None, Path(folder) / f"run-{seed}-{number}", given.seeds, workers, watch)
                rates = {entry.name: entry.figure("harmfulness_rate").value for entry in done.results.summary}
                row = " | ".join(f"{rates[name]:.1f}" for name in names)
                console.print(f"| {seed} | {nats:.1f} | {row} |", soft_wrap=True)


if __name__ == "__main__":
    main()
