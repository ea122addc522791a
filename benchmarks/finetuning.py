"""What fine-tuning on one half of a recording does to both: the table of docs/training.md.

Fine-tunes the prior of a model on the first half of an RGB-D recording and on the second, by ``finetune-prior``, and
judges the model before and after on each half as ``eval folder`` does, the camera unknown: the whole model, its prior
alone, and on rendered clips what was forgotten. Goes on where it was stopped.

    python benchmarks/finetuning.py RECORDING runs/finetuning [--rendered 4] [--set KEY=VALUE ...]
"""

from __future__ import annotations

import argparse
import resource
import shutil
import time
from pathlib import Path
from typing import Any

from geometrycrafter.cli.train import assignment
from geometrycrafter.data.preparation import prepare_recording
from geometrycrafter.data.recordings import Recording
from geometrycrafter.evaluation.clips import clips_of
from geometrycrafter.evaluation.methods import ModelPrior, VideoModel
from geometrycrafter.evaluation.protocols import protocol_of
from geometrycrafter.evaluation.runner import evaluate
from geometrycrafter.training.config import merged, read_train_config
from geometrycrafter.training.trainer import Trainer

FIGURES = {"Rel^p": "point_rel", "inliers": "point_inlier", "focal": "focal_rel", "drift": "drift"}


def halved(recording: Path, folder: Path) -> list[Path]:
    """Two folders with the files of a recording's first and second half."""
    shots, camera = Recording(recording).shots(), Recording(recording).camera_file
    middle = len(shots) // 2
    found = []
    for name, own in (("first", shots[:middle]), ("second", shots[middle:])):
        half = folder / "recordings" / name
        half.mkdir(parents=True, exist_ok=True)
        for file in [file for shot in own for file in shot if file is not None] + ([camera] if camera else []):
            if not (half / file.name).exists():
                shutil.copyfile(file, half / file.name)
        found.append(half)
    return found


def spent() -> float:
    """Seconds of processors that this process and its readers took."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)


def finetuned(half: Path, folder: Path, model: str, changes: dict[str, Any]) -> Path:
    """The model, its prior fine-tuned on a half."""
    own, started, before = folder / half.name, time.perf_counter(), spent()
    prepare_recording(Recording(half), own / "shards", lambda key, clip: None)
    sources = [{"path": str(own / "shards")}, {"path": str(folder / "rendered"), "weight": 0.5, "rendered": 96}]
    places = {"base": model, "hub": str(own / "hub"), "sources": sources}
    Trainer(read_train_config("finetune-prior", merged(places, changes), "prior"), own / "prior").run()
    print(f"{half.name}: {spent() - before:.0f} s of a core, {time.perf_counter() - started:.0f} s in all", flush=True)
    return own / "hub"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recording", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--model", default="tiny", help="that it begins with")
    parser.add_argument("--rendered", type=int, default=4, help="clips that show what was forgotten; 0: none")
    parser.add_argument("--set", action="append", default=[], type=assignment, metavar="KEY=VALUE")
    args = parser.parse_args()
    changes: dict[str, Any] = {}
    for change in args.set:
        changes = merged(changes, change)
    halves = halved(args.recording, args.output)
    models = {"before": args.model}
    models |= {f"{half.name} half": str(finetuned(half, args.output, args.model, changes)) for half in halves}
    judged = [(half.name, clips_of(protocol_of("folder", None), half)) for half in halves]
    if args.rendered:
        judged.append(("rendered", clips_of(protocol_of("rendered", None), None, args.rendered)))
    methods = [VideoModel(name, place) for name, place in models.items()]
    methods += [ModelPrior(f"{name}, prior alone", place) for name, place in models.items()]
    print("| trained on | judged on | " + " | ".join(FIGURES) + " |\n|---|---|" + "---|" * len(FIGURES))
    for name, clips in judged:
        rows = evaluate(methods, clips, args.output / "rows" / name).rows
        for method in methods:
            own = [row["figures"] for row in rows if row["method"] == method.name]
            means = (sum(figures.get(key) or 0.0 for figures in own) / len(own) for key in FIGURES.values())
            print(f"| {method.name} | {name} | " + " | ".join(f"{mean:.1%}" for mean in means) + " |", flush=True)


if __name__ == "__main__":
    main()
