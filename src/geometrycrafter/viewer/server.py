"""The viewer: a server that browsers connect to, and what is done when somebody asks for it."""

from __future__ import annotations

import contextlib
import errno
import io
import socket
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from geometrycrafter.errors import InputError, how_to_install, reason
from geometrycrafter.files import explained
from geometrycrafter.geometry import rigid
from geometrycrafter.scene import Scene
from geometrycrafter.scene.places import name_of
from geometrycrafter.video.pictures import encode_png
from geometrycrafter.viewer.clouds import Clouds, Points
from geometrycrafter.viewer.controls import WAYS, Controls
from geometrycrafter.viewer.guard import guarded
from geometrycrafter.viewer.look import Flight, Look
from geometrycrafter.viewer.measuring import apart, clicked, set_unit
from geometrycrafter.viewer.pacing import Pace
from geometrycrafter.viewer.paths import Eye, between, keys_as_json, orbit, own_eye
from geometrycrafter.viewer.rendering import picture, render, way_of
from geometrycrafter.viewer.stage import Stage, draw_measure
from geometrycrafter.viewer.state import State

IDLE = 0.5
"""Seconds between looks at whether there is something to draw, where nothing plays."""
TOLD = 10.0
"""Seconds that a client is told why something can't be shown."""
FARTHER = 1.35
"""How much farther away than the clip's camera one begins to look, so that there is room for the panel."""
BESIDE = 1.3
"""How far apart two scenes stand, in widths of what is at the middle depth."""


class Viewer:
    """A server that shows scenes; it draws in a thread of its own.

    Args:
        scenes: one or two, of one video.
        look: how they are shown at first.
        host: address that it answers at.
        port: 0: any that is free.
        point_size: of points, relative to what they cover.

    Raises:
        InputError: where viser is missing, the port can't be had, or a scene hasn't what is to be shown.
    """

    def __init__(
        self, scenes: Sequence[Scene], look: Look, host: str = "127.0.0.1", port: int = 0, point_size: float = 1.0
    ):
        try:
            import viser
        except ImportError as error:
            raise InputError(f"view wants viser; {how_to_install('viewer')}.") from error
        self.port = free_port(host, port)
        clouds = [Clouds(scene) for scene in scenes]
        for each in clouds:
            each.check(look)
        self.state = State(len(scenes[0]), scenes[0].fps, look, point_size=point_size, playing=len(scenes[0]) > 1)
        with guarded(host):
            server: Any = viser.ViserServer(host, self.port, label=name_of(scenes[0].place), verbose=False)
        self.server, self.port = server, server.get_port()
        # Whoever looks may not have the scene shown to the world by way of somebody's tunnel.
        self.server.request_share_url = lambda *_, **__: None
        self.server.scene.set_up_direction("-y")
        self.stages = [Stage(self.server, c, f"/{name}") for c, name in zip(clouds, ("first", "second"))]
        self.controls = Controls(self)
        self._begin_outside()
        self.server.on_client_connect(self.look_from_outside)
        self.pace = Pace()
        self._stopped = threading.Event()
        self.drawings = 0
        """How often it has drawn."""
        self._told: dict[int, float] = {}
        self._drawing = threading.Lock()
        self.draw()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    # -- Drawing ------------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        before = time.monotonic()
        while not self._stopped.is_set():
            pause = 1 / (self.state.fps * self.state.speed) / 2 if self.state.playing else IDLE
            changed = self.state.changed.wait(pause)
            self.state.changed.clear()
            now = time.monotonic()
            if not changed and self.state.playing and not (self.server.get_clients() and self.pace.ready()):
                continue  # time goes on: the next frame that is sent is the one of its time
            if self.state.advance(now - before) or changed:
                try:
                    self.draw()
                except Exception as error:  # a scene that is gone or damaged, or what a client makes up
                    self._tell_all(error)
                self.server.flush()
                self.pace.ask(self.server.get_clients().values())
            before = now

    def _tell_all(self, error: Exception) -> None:
        """Tell clients why something isn't shown, one thing at a time; what can be is."""
        said, now = str(error) if isinstance(error, InputError) else reason(error), time.monotonic()
        for number, client in self.server.get_clients().items():
            if now - self._told.get(number, -np.inf) > TOLD:
                self._told[number] = now
                client.add_notification("It can't be shown", said, color="red", auto_close_seconds=TOLD)

    def draw(self) -> None:
        """Send what has changed."""
        with self._drawing, self.server.atomic():
            compared = self.state.compared
            aside = self._aside() if compared == "beside" else 0.0
            for i, stage in enumerate(self.stages):
                hidden = compared == ("second" if i == 0 else "first") and len(self.stages) > 1
                stage.draw(self.state, not hidden, i * aside)
            first = self.stages[0]
            draw_measure(self.server, self.state, first.clouds.scene.unit, 0.004 * first.middle)
            self.controls.tell()
            if self.state.follow:
                self.look_from_camera(self.server.get_clients().values())
        self.drawings += 1

    def _aside(self) -> float:
        scene = self.stages[0].clouds.scene
        return BESIDE * self.stages[0].middle * scene.depth.shape[2] / float(scene.intrinsics[0][0, 0])

    def stop(self) -> None:
        """End the server."""
        self._stopped.set()
        self.state.changed.set()
        self._thread.join(10)
        with contextlib.redirect_stdout(io.StringIO()):  # it says so, too
            self.server.stop()

    # -- Views --------------------------------------------------------------------------------------------------------

    def _begin_outside(self) -> None:
        eye, centre = self._outside()
        camera = self.server.initial_camera
        camera.up, camera.position, camera.look_at = (0.0, -1.0, 0.0), eye.pose[:3, 3], centre
        camera.fov, camera.near, camera.far = 2 * np.arctan(eye.height), *self._depths()

    def _depths(self) -> tuple[float, float]:
        return 0.005 * self.stages[0].middle, 500 * self.stages[0].middle

    def _outside(self, aspect: float = 1.5) -> tuple[Eye, np.ndarray]:
        """A view from beside and above the frame's camera, and the place that it looks at ``[3]``.

        Args:
            aspect: width of the window over its height; a narrow one, and two scenes, are seen from farther away.
        """
        clouds, middle = self.stages[0].clouds, self.stages[0].middle
        beside = len(self.stages) > 1 and self.state.compared == "beside"
        own = clouds.scene.depth.shape[2] / clouds.scene.depth.shape[1] * (2.3 if beside else 1.0)
        away = middle * (FARTHER * max(1.0, own / aspect) - 1)
        eye = orbit(clouds, 24)(0.3, self.state.frame)
        pose = eye.pose @ shifted(0, 0, -away)
        centre = (pose @ [0, 0, middle + away, 1])[:3]
        if beside:
            shift = np.array([self._aside() / 2, 0.0, 0.0])
            pose[:3, 3] += shift
            centre = centre + shift
        return Eye(pose, eye.height), centre

    def look_from_outside(self, client: Any) -> None:
        """Show a client the scene from beside the frame's camera."""
        eye, centre = self._outside(client.camera.aspect)
        with client.atomic():
            client.camera.up_direction = (0.0, -1.0, 0.0)
            client.camera.position, client.camera.look_at = eye.pose[:3, 3], centre
            client.camera.fov = 2 * np.arctan(eye.height)

    def look_from_camera(self, clients: Iterable[Any]) -> None:
        """Show clients the scene as the frame's camera does."""
        eye = own_eye(self.stages[0].clouds, self.state.frame)
        turn = rigid.quaternion_of_rotation(torch.from_numpy(eye.pose[:3, :3].copy())).numpy()
        for client in clients:
            with client.atomic():
                client.camera.wxyz, client.camera.position = turn, eye.pose[:3, 3]
                client.camera.fov = 2 * np.arctan(eye.height)

    def eye_of(self, client: Any) -> Eye:
        """The view that a client has."""
        pose = np.eye(4)
        turn = rigid.rotation_of_quaternion(torch.from_numpy(np.asarray(client.camera.wxyz, np.float64)))
        pose[:3, :3], pose[:3, 3] = turn.numpy(), client.camera.position
        return Eye(pose, float(np.tan(client.camera.fov / 2)))

    def snapshot(self, client: Any) -> None:
        """Save what a client sees as a picture of its own size, drawn here."""
        height = int(np.clip(client.camera.image_height, 64, 4096))
        width = int(np.clip(height * client.camera.aspect, 64, 8192))
        with telling("No picture", client):
            shown = picture(self._drawn(), self.eye_of(client), height, width, self.state.point_size)
            client.send_file_download(f"frame_{self.state.frame:06d}.png", encode_png(shown))

    def _drawn(self) -> Points:
        return Points.of_all([s.drawn(self.state.frame, self.state.look) for s in self.stages if s.root.visible])

    # -- Measuring ----------------------------------------------------------------------------------------------------

    def listen(self, on: bool) -> None:
        """Take clicks as places to measure, or no longer."""
        self.server.scene.remove_click_callback("all") if not on else self.server.scene.on_click()(self._clicked)

    def _clicked(self, event: Any) -> None:
        with telling("Nothing is measured", event.client):
            place = clicked(self._drawn(), np.array(event.ray_origin), np.array(event.ray_direction))
            if place is not None:
                self.state.click(place)

    def keep_unit(self, metres: float, client: Any) -> None:
        """Keep the distance that was measured as so many metres, with the first scene."""
        if len(self.state.clicks) < 2:
            client.add_notification("Nothing is measured", "Click at two points first.", auto_close_seconds=5)
            return
        stage = self.stages[0]
        with telling("The unit stays as it is", client):
            before = apart(*self.state.clicks)
            scene = set_unit(stage.clouds.scene, before, metres)
            with self._drawing:
                stage.begin(Clouds(scene))
            larger = np.ones((4, 4))
            larger[:3, 3] = metres / before
            keys = [Eye(key.pose * larger, key.height) for key in self.state.keys]
            self.state.set(clicks=[], keys=keys)
            for each in self.server.get_clients().values():
                self.look_from_outside(each)
            client.add_notification("In metres", "The scene keeps this unit.", auto_close_seconds=5)

    # -- Flights ------------------------------------------------------------------------------------------------------

    def add_key(self, client: Any) -> None:
        """Take a client's view as a key of a flight."""
        self.state.set(keys=[*self.state.keys, self.eye_of(client)])
        said = f"{len(self.state.keys)} so far."
        client.add_notification("Key camera", said, auto_close_seconds=3)

    def save_keys(self, client: Any) -> None:
        """Give a client the keys as a file, for ``view --render --path FILE``."""
        client.send_file_download("keys.json", keys_as_json(self.state.keys).encode())

    def render(self, way: str, client: Any, size: tuple[int, int] = (720, 1280)) -> None:
        """Render a flight here and give it to a client as a video, so high and so wide.

        Its way is one of :data:`geometrycrafter.viewer.controls.WAYS`, as a client may name no file of this machine.
        """
        if way not in WAYS:
            return
        if way == "keys" and not self.state.keys:
            client.add_notification("No keys", "Add views as keys first.", auto_close_seconds=5)
            return
        note = client.add_notification("Rendering", "The video is made.", loading=True, with_close_button=False)
        clouds, look = [s.clouds for s in self.stages], self.state.look
        try:
            with telling("No video", client), explained("flight.mp4"), tempfile.TemporaryDirectory() as folder:
                flight = Flight(path="orbit" if way == "keys" else way, size=size, point_size=self.state.point_size)
                chosen = between(self.state.keys) if way == "keys" else way_of(flight, clouds[0])
                path = render(clouds, Path(folder) / "flight.mp4", flight, look, way=chosen, progress=self._go_on)
                client.send_file_download("flight.mp4", path.read_bytes())
        finally:
            note.remove()

    def _go_on(self, done: int, count: int) -> None:
        if self._stopped.is_set():
            raise InputError("The viewer was ended; the video is not whole.")


@contextlib.contextmanager
def telling(title: str, client: Any) -> Iterator[None]:
    """Tell a client what is at fault, below a title that says what has not come about."""
    try:
        yield
    except InputError as error:
        client.add_notification(title, str(error), color="red")


def shifted(x: float, y: float, z: float) -> np.ndarray:
    """A motion ``[4, 4]`` that turns nothing."""
    out = np.eye(4)
    out[:3, 3] = x, y, z
    return out


def free_port(host: str, port: int) -> int:
    """A port that can be had at an address; one that is free where 0 is asked.

    Raises:
        InputError: where it is busy, or there is no such address.
    """
    if not host:
        raise InputError("--host: there is no address; give 127.0.0.1 for this machine alone, 0.0.0.0 for others, too.")
    try:
        with socket.create_server((host, port)) as found:
            return int(found.getsockname()[1])
    except (OSError, UnicodeError) as error:
        if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
            said = f"--port {port}: another program answers there; choose another, or 0 for any that is free."
        else:
            said = f"--host {host}: the viewer can't answer at port {port} there ({reason(error)}); choose another."
        raise InputError(said) from error


def serve(scenes: Sequence[Scene], look: Look, host: str, port: int, point_size: float = 1.0) -> None:
    """Show scenes until the program is ended.

    Args:
        scenes: one or two, of one video.
        look: how they are shown at first.
        host: address that it answers at.
        port: 0: any that is free.
        point_size: of points, relative.

    Raises:
        InputError: as :class:`Viewer`.
    """
    viewer = Viewer(scenes, look, host, port, point_size)
    shown = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    where = f"[{shown}]" if ":" in shown else shown
    print(f"viewer: http://{where}:{viewer.port} (end it with Ctrl-C)", flush=True)
    try:
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:  # how a viewer is ended
        print("viewer: ended")
    finally:
        viewer.stop()
