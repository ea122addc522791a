"""What ``run`` says: to people, to nobody (``--quiet``), or to programs (``--json``, an event a line).

To people: progress on stderr, and on stdout five lines for each scene, the last of which says where it is. To programs:
nothing but JSON on stdout; docs/using.md lists the events.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import shlex
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from geometrycrafter.cli.progress import Pace, ProgressBar
from geometrycrafter.errors import InputError, reason

if TYPE_CHECKING:
    from geometrycrafter.scene import Scene
    from geometrycrafter.video.reading import FrameSource

    Progress = Callable[[str, int, int | None], None]

SECONDS = 0.5
"""Between events of progress, at least."""


class Reports:
    """For people."""

    def note(self, text: str) -> None:
        """Something worth knowing."""
        print(text, flush=True)

    def hint(self, text: str) -> None:
        """Something that is no result."""
        print(text, file=sys.stderr, flush=True)

    def begin(self, video: str, source: FrameSource | None, output: str, model: str) -> None:
        """A video's run begins.

        Args:
            video: as it was named.
            source: its frames; None where they are opened later.
            output: place of the scene.
            model: name and variant.
        """

    def progress(self, title: str, expected: Mapping[str, float] | None) -> Any:
        """A context whose value is called with a stage, how many are done and of how many."""
        return ProgressBar(title, expected=expected)

    def dry_run(self, video: str, text: str) -> None:
        """What a run would be."""
        print(text, flush=True)

    def scene(self, video: str, scene: Scene, place: str, extra: Mapping[str, str]) -> None:
        """A scene is finished.

        Args:
            video: that it is of.
            scene: to describe.
            place: as it was named.
            extra: other files, by what they are.
        """
        from geometrycrafter.scene.shots import told_shots
        from geometrycrafter.scene.summary import Summary

        summary = Summary.of(scene)
        shots = [f"shots: {told_shots(summary.shots)}"] if len(summary.shots) > 1 else []
        files = [f"{what}: {file}" for what, file in extra.items()]
        look = f"look: {look_command(place)}"
        print("\n".join([*shots, *summary.lines(), *files, look, f"scene: {place}"]), flush=True)

    def failed(self, video: str, why: str) -> None:
        """A video has failed."""

    def end(self, done: int, failed: int) -> None:
        """All videos have been tried."""

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """While the command runs."""
        yield


class Quiet(Reports):
    """Says nothing; errors and warnings go to stderr as ever."""

    def note(self, text: str) -> None:
        pass

    def hint(self, text: str) -> None:
        pass

    def progress(self, title: str, expected: Mapping[str, float] | None) -> Any:
        return contextlib.nullcontext(lambda stage, done, total: None)

    def scene(self, video: str, scene: Scene, place: str, extra: Mapping[str, str]) -> None:
        pass


class Events(Reports):
    """An event a line, as JSON on stdout."""

    def __init__(self) -> None:
        self.video: str | None = None

    def say(self, event: str, **fields: Any) -> None:
        """One line."""
        print(json.dumps({"event": event, "time": round(time.time(), 3), **fields}), flush=True)

    def note(self, text: str) -> None:
        self.say("note", video=self.video, message=text)

    def hint(self, text: str) -> None:
        self.note(text)

    def begin(self, video: str, source: FrameSource | None, output: str, model: str) -> None:
        self.video = video
        names = {"frames": "count", "height": "height", "width": "width", "fps": "fps"}
        size = {name: getattr(source, attribute, None) for name, attribute in names.items()}
        self.say("begin", video=video, scene=output, model=model, **size)

    @contextlib.contextmanager
    def progress(self, title: str, expected: Mapping[str, float] | None) -> Iterator[Progress]:
        pace, said, stage_said = Pace(expected), 0.0, ""

        def told(stage: str, done: int, total: int | None) -> None:
            nonlocal said, stage_said
            step, now = pace(stage, done, total), time.monotonic()
            if stage == stage_said and done != total and now - said < SECONDS:
                return
            said, stage_said = now, stage
            rounded = {
                "rate": None if step.rate is None else round(step.rate, 3),
                "seconds_left": None if step.left is None else round(step.left, 1),
                "memory_mb": round(step.memory, 1),
            }
            self.say("progress", video=self.video or title, stage=stage, done=done, total=total, **rounded)

        yield told

    def dry_run(self, video: str, text: str) -> None:
        rows = [line.strip().split(maxsplit=1) for line in text.splitlines()[1:]]
        self.say("dry-run", video=video, **{row[0]: row[1] for row in rows if len(row) == 2})

    def scene(self, video: str, scene: Scene, place: str, extra: Mapping[str, str]) -> None:
        from geometrycrafter.scene.summary import Summary

        self.say("scene", video=video, **{**Summary.of(scene).stored(), "scene": place}, **extra)

    def failed(self, video: str, why: str) -> None:
        self.say("error", video=video, message=why)

    def end(self, done: int, failed: int) -> None:
        self.say("end", done=done, failed=failed)

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        before = warnings.showwarning

        def show(message: Warning | str, *rest: Any) -> None:
            self.say("warning", video=self.video, message=str(message))
            before(message, *rest)

        warnings.showwarning = show  # type: ignore[assignment]
        try:
            yield
        except (InputError, OSError) as error:
            if not isinstance(error, BrokenPipeError):
                self.say(
                    "error", video=self.video, message=str(error) if isinstance(error, InputError) else reason(error)
                )
            raise
        finally:
            warnings.showwarning = before


def reports_of(quiet: bool, as_json: bool) -> Reports:
    """Of the flags."""
    return Events() if as_json else Quiet() if quiet else Reports()


def look_command(place: str) -> str:
    """What shows a scene: in the browser where that is installed, else as a video."""
    viewer = importlib.util.find_spec("viser") is not None
    return f"geometrycrafter {'view' if viewer else 'export'} {shlex.quote(place)}{'' if viewer else ' mp4'}"
