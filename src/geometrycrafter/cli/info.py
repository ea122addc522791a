"""``geometrycrafter info``: what a scene is."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geometrycrafter.errors import InputError
from geometrycrafter.files import is_url, on_disk

if TYPE_CHECKING:
    from geometrycrafter.scene import Scene


def add_parser(commands: Any) -> None:
    """Its flags."""
    parser = commands.add_parser(
        "info",
        help="say what a scene is",
        description="Say what a scene is: frames, camera, depth and scale, shots, poses, and how it was made. The "
        "status is 1 where the run that writes it is not finished, or --check finds damage.",
    )
    parser.add_argument("scene", help="a folder NAME.gc made by 'geometrycrafter run', or the URL of one")
    parser.add_argument("--json", action="store_true", help="as one line of JSON")
    parser.add_argument("--check", action="store_true", help="read all of it, and name every array that is damaged")
    parser.set_defaults(call=call)


def call(args: argparse.Namespace) -> int:
    """Describe a scene.

    Raises:
        InputError: where there is none, or what is to be shown of it is damaged.
    """
    from geometrycrafter.scene import open_scene

    state = None if is_url(args.scene) else _unfinished(Path(os.path.realpath(on_disk(args.scene))))
    if state is not None:
        done = {"scene": args.scene, "complete": False, **state}
        print(json.dumps(done) if args.json else _told(args.scene, state))
        return 1
    scene = open_scene(args.scene)
    faults = _faults(scene) if args.check else []
    if faults:
        print(
            json.dumps({"scene": args.scene, "complete": True, "damaged": faults}) if args.json else "\n".join(faults)
        )
        return 1
    from geometrycrafter.cli.run_reports import look_command
    from geometrycrafter.scene.summary import Summary

    summary = Summary.of(scene)
    if args.json:
        print(json.dumps({"complete": True, **summary.stored(), "scene": args.scene}))
        return 0
    whole = ["check: all of it can be read"] if args.check else []
    lines = [*summary.lines(), *summary.details(), *whole, f"look: {look_command(args.scene)}", f"scene: {args.scene}"]
    print("\n".join(lines))
    return 0


def _unfinished(folder: Path) -> dict[str, Any] | None:
    """How far a run is that has not finished its scene; None where the scene is finished, or none is there."""
    from geometrycrafter.files import beside
    from geometrycrafter.inference.run_folder import RunFolder
    from geometrycrafter.scene.writer import stored_attributes

    attributes = stored_attributes(folder)
    if attributes is not None and attributes.get("complete"):
        return None
    run = RunFolder.open(folder) or RunFolder.open(beside(folder, "run"))
    if run is None:
        return None
    shots = run.shots
    return {
        "stage": "observe" if shots is None else "denoise" if not (run.folder / "journal.jsonl").exists() else "decode",
        "frames": None if shots is None else shots[-1].end,
        "decoded": _decoded(run.folder),
    }


def _decoded(folder: Path) -> int:
    """Frames that the journal of a run says are decoded."""
    try:
        lines = (folder / "journal.jsonl").read_text().splitlines()
        return max((int(json.loads(line).get("end", 0)) for line in lines), default=0)
    except (OSError, ValueError, AttributeError):
        return 0


def _told(place: str, state: dict[str, Any]) -> str:
    of = "" if state["frames"] is None else f", {state['decoded']} of {state['frames']} frames decoded"
    return (
        f"{place}: the run that writes this scene is not finished (stage: {state['stage']}{of}); "
        "give the command that began it again, with --resume."
    )


def _faults(scene: Scene) -> list[str]:
    """A sentence for each array of which something can't be read."""
    found = []
    for _, array in scene.stored_arrays():
        try:
            for t in range(array.shape[0] if array.shape else 0):
                array.read(t)
        except InputError as error:
            found.append(str(error))
    return found
