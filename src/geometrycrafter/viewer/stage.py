"""The nodes of a scene in the browser: points, the static world, cameras, and what is measured."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from geometrycrafter.geometry.rigid import quaternion_of_rotation
from geometrycrafter.viewer.clouds import Clouds, Points
from geometrycrafter.viewer.look import Look
from geometrycrafter.viewer.measuring import apart, told
from geometrycrafter.viewer.state import State

MOST_CAMERAS = 16
"""Frames of a shot whose cameras are drawn beside the path, evenly spread."""
INK, MARK = (120, 150, 230), (255, 170, 60)
"""Colours of cameras, and of the one of the frame that is shown."""
SIZE = 0.03
"""Of a camera's pyramid, as a share of the middle depth."""
COVER = 1.3
"""How much wider than its spacing a point is."""


class Stage:
    """Draws one scene into a server's, below a node of its own; only what has changed is sent.

    Args:
        server: viser's.
        clouds: of the scene.
        name: of the node, ``/first``.
    """

    def __init__(self, server: Any, clouds: Clouds, name: str):
        self.server, self.name = server, name
        self.root = server.scene.add_frame(name, show_axes=False)
        self.begin(clouds)

    def begin(self, clouds: Clouds) -> None:
        """Show another scene, or the same one in another unit."""
        self.clouds, self.middle = clouds, clouds.middle()
        self._sent: dict[str, Any] = {}
        self._nodes: dict[str, list[Any]] = {}

    def draw(self, state: State, visible: bool, aside: float) -> None:
        """Show what the state asks for.

        Args:
            state: of the viewer.
            visible: whether the scene is shown at all.
            aside: how far to the right it stands.
        """
        look, t = state.look, min(state.frame, len(self.clouds.scene) - 1)
        self.root.visible, self.root.position = visible, (aside, 0.0, 0.0)
        if not visible:
            return
        frame = Points.of_all([]) if look.show == "static" else self.clouds.frame(t, look)
        self._points("points", (t, look, state.point_size), frame, state.point_size)
        shot, static = self.clouds.shots[t], look.show in ("static", "both")
        world = self.clouds.world_soon(shot, look, state.changed.set) if static else Points.of_all([])
        if world is not None:
            asked = (shot, look.points, state.point_size) if static else None
            self._points("world", asked, world, state.point_size)
        self._cameras(state, t, shot)

    def drawn(self, t: int, look: Look) -> Points:
        """What is to be clicked at in a frame, where it stands."""
        points = self.clouds.drawn(t, look)
        return Points(points.places + np.float32(self.root.position), points.rgb, points.spacing)

    def _is_new(self, name: str, asked: Any) -> bool:
        """Whether what is asked for is not what was sent last; what was goes."""
        if name in self._sent and self._sent[name] == asked:
            return False
        self._sent[name] = asked
        return True

    def _points(self, name: str, asked: Any, points: Points, size: float) -> None:
        if not self._is_new(name, asked):
            return
        spacing = float(np.median(points.spacing)) if len(points) else 1.0
        places, rgb = (points.places, points.rgb) if len(points) else (np.zeros((1, 3)), np.zeros((1, 3), np.uint8))
        self.server.scene.add_point_cloud(
            f"{self.name}/{name}",
            places,
            rgb,
            point_size=COVER * size * spacing,
            point_shading="flat",
            precision="float32",
            visible=len(points) > 0,
        )

    def _cameras(self, state: State, t: int, shot: int) -> None:
        scene, shown = self.clouds.scene, state.cameras
        if self._is_new("cameras", (shot, shown)):
            for node in self._nodes.pop("cameras", []):
                node.remove()
            self._nodes["cameras"] = self._path(t, shot) if shown and scene.poses is not None else []
        pose = self.clouds.pose(t)
        if self._is_new("camera", (t, shown)):
            place = np.eye(4) if pose is None else pose
            self._pyramid("camera", t, place, MARK, shown and pose is not None and not state.follow)

    def _path(self, t: int, shot: int) -> list[Any]:
        first, end = self.clouds.scene.shots[shot]
        chosen = sorted({int(i) for i in np.linspace(first, end - 1, MOST_CAMERAS)})
        nodes = [
            self._pyramid(f"cameras/{i}", i, pose, INK, True)
            for i in chosen
            if (pose := self.clouds.pose(i)) is not None
        ]
        way = self.clouds.path(t)
        if len(way) > 1:
            segments = np.stack([way[:-1], way[1:]], 1).astype(np.float32)
            nodes.append(
                self.server.scene.add_line_segments(
                    f"{self.name}/path", segments, INK, thickness=2.0, thickness_units="screen"
                )
            )
        return nodes

    def _pyramid(self, name: str, t: int, pose: np.ndarray, colour: tuple[int, int, int], visible: bool) -> Any:
        height, width = self.clouds.scene.depth.shape[1:]
        k = np.asarray(self.clouds.scene.intrinsics[t], np.float64)
        return self.server.scene.add_camera_frustum(
            f"{self.name}/{name}",
            fov=float(2 * np.arctan(height / 2 / k[1, 1])),
            aspect=width / height * k[1, 1] / k[0, 0],
            scale=SIZE * self.middle,
            thickness=1.5,
            thickness_units="screen",
            color=colour,
            wxyz=quaternion_of_rotation(torch.from_numpy(pose[:3, :3].copy())).numpy(),
            position=pose[:3, 3],
            visible=visible,
        )


def draw_measure(server: Any, state: State, unit: str | None, size: float) -> None:
    """Show the places that were clicked, the line between two, and how long it is.

    Args:
        server: viser's.
        state: with the clicks.
        unit: of the scene.
        size: of the marks.
    """
    for i in range(2):
        seen = i < len(state.clicks)
        place = state.clicks[i] if seen else np.zeros(3)
        server.scene.add_icosphere(f"/measure/{i}", radius=size, color=MARK, position=place, visible=seen)
    both = len(state.clicks) == 2
    line = np.stack(state.clicks)[None] if both else np.zeros((1, 2, 3))
    server.scene.add_line_segments(
        "/measure/line", line.astype(np.float32), MARK, thickness=3.0, thickness_units="screen", visible=both
    )
    words = told(apart(*state.clicks), unit) if both else ""
    middle = line[0].mean(0)
    server.scene.add_label("/measure/told", words, position=middle, visible=both)
