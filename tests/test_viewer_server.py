"""The viewer's server: what it sends, what its panel changes, what it answers; and once with a browser."""

from __future__ import annotations

import io
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request

import av
import numpy as np
import pytest
from PIL import Image
from test_export_worlds import FRAMES, HEIGHT, plane, poses
from test_viewer import centred

import geometrycrafter as gc
from geometrycrafter.cli.main import main
from geometrycrafter.viewer.guard import foreign
from geometrycrafter.viewer.look import Look
from geometrycrafter.viewer.pacing import Pace
from geometrycrafter.viewer.paths import Eye, own_eye
from geometrycrafter.viewer.server import Viewer
from geometrycrafter.viewer.state import State

viser = pytest.importorskip("viser")


class Camera:
    """Of a client that is none."""

    wxyz, position, fov = np.array([1.0, 0, 0, 0]), np.zeros(3), float(2 * np.arctan(HEIGHT / 2 / 60))
    image_height, aspect = 96, 4 / 3


class Client:
    """Stands for a browser: has a camera, and keeps what it is given."""

    def __init__(self):
        self.camera, self.files, self.said = Camera(), {}, []

    def send_file_download(self, name, content):
        self.files[name] = content

    def add_notification(self, title, body, **_):
        self.said.append(f"{title}: {body}")
        return self

    def remove(self):
        pass

    def atomic(self):
        import contextlib

        return contextlib.nullcontext()


@pytest.fixture
def viewer():
    started = []

    def start(*scenes, **look):
        found = Viewer(scenes, Look(**look))
        found.state.set(playing=False, frame=0)
        started.append(found)
        return found

    yield start
    for found in started:
        found.stop()


def until(condition, seconds=20.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "not in time"
        time.sleep(0.02)


def node(viewer, name):
    return viewer.server.scene.get_handle_by_name(name)


def test_the_browser_is_sent_the_frame_its_cameras_and_what_is_asked_later(viewer):
    scene = plane()
    shown = viewer(scene, edges=0)
    points = node(shown, "/first/points")
    wanted = shown.stages[0].clouds.frame(0, shown.state.look)
    np.testing.assert_array_equal(points.points, wanted.places)
    np.testing.assert_array_equal(points.colors, wanted.rgb)
    assert all(node(shown, f"/first/cameras/{t}") is not None for t in range(FRAMES))
    assert node(shown, "/first/path").points.shape == (FRAMES - 1, 2, 3)
    shown.state.set(frame=3)
    until(lambda: not np.array_equal(node(shown, "/first/points").points[:50], wanted.places[:50]))
    until(lambda: np.allclose(node(shown, "/first/camera").position, scene.poses[3][:3, 3], atol=1e-6))
    shown.state.relook(show="both")
    until(lambda: len(node(shown, "/first/world").points) > 500)
    until(lambda: len(node(shown, "/first/points").points) == 100)
    shown.state.set(cameras=False)
    until(lambda: node(shown, "/first/path") is None)


def test_time_passes_at_the_clips_rate_and_begins_again():
    state = State(5, 10.0, Look())
    assert not state.advance(10.0)
    state.set(playing=True)
    assert [state.advance(0.07) for _ in range(5)] == [False, True, True, False, True] and state.frame == 3
    state.set(speed=2.0)
    assert state.advance(0.1) and state.frame == 0
    state.set(frame=99)
    assert state.frame == 4


def test_two_scenes_stand_beside_each_other_or_one_is_seen(viewer):
    shown = viewer(plane(), plane(moving=False))
    first, second = (stage.root for stage in shown.stages)
    assert first.visible and second.visible and second.position[0] > 2 and first.position[0] == 0
    shown.state.set(compared="second")
    until(lambda: not first.visible)
    shown.state.set(compared="over")
    until(lambda: first.visible and second.position[0] == 0)


def test_two_clicks_are_a_distance_that_may_become_the_scenes_unit(viewer, tmp_path):
    shown, client = viewer(plane(moving=False).save(tmp_path / "s.gc"), edges=0), Client()
    shown.keep_unit(3.0, client)
    assert client.said == ["Nothing is measured: Click at two points first."]
    places = shown.stages[0].clouds.frame(0, shown.state.look).places.astype(float)
    assert shown.controls.told.content == ""
    shown.state.set(measuring=True, keys=[Eye(own_eye(shown.stages[0].clouds, 3).pose, 0.5)])
    until(lambda: shown.controls.told.content == "Click a point.")
    for place in (places[40], places[2000]):
        event = type("Event", (), {"ray_origin": (0, 0, 0), "ray_direction": tuple(place), "client": client})
        shown._clicked(event)
    assert len(shown.state.clicks) == 2
    until(lambda: "of the scene's own unit" in shown.controls.told.content)
    measured = np.linalg.norm(shown.state.clicks[0] - shown.state.clicks[1])
    assert measured == pytest.approx(np.linalg.norm(places[40] - places[2000]), rel=0.05)
    shown.keep_unit(3.0, client)
    until(lambda: gc.open(tmp_path / "s.gc").unit == "m")
    after = shown.stages[0].clouds.frame(0, shown.state.look).places
    np.testing.assert_allclose(after, places * (3.0 / measured), rtol=1e-4, atol=1e-4)
    assert shown.state.clicks == [] and "In metres" in client.said[-1]
    np.testing.assert_allclose(shown.state.keys[0].pose, own_eye(shown.stages[0].clouds, 3).pose, atol=1e-5)


def test_a_client_gets_pictures_keys_and_flights(viewer, tmp_path):
    scene = centred(moving=False)
    shown, client = viewer(scene, edges=0), Client()
    shown.snapshot(client)
    picture = np.asarray(Image.open(io.BytesIO(client.files["frame_000000.png"]))).astype(int)
    assert picture.shape == (96, 128, 3)
    assert np.abs(picture[::2, ::2][4:] - scene.frames[0][4:]).mean() < 3
    shown.render("keys", client)
    assert client.said[-1].startswith("No keys")
    shown.add_key(client)
    np.testing.assert_allclose(shown.state.keys[0].pose, own_eye(shown.stages[0].clouds, 0).pose, atol=1e-9)
    shown.save_keys(client)
    assert b'"fov"' in client.files["keys.json"]
    shown.render("keys", client, (90, 160))
    with av.open(io.BytesIO(client.files["flight.mp4"])) as container:
        assert sum(1 for _ in container.decode(video=0)) == 60


def test_a_busy_port_and_a_strange_address_are_said_in_a_sentence(tmp_path, capsys):
    plane().save(tmp_path / "s.gc")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert main(["view", str(tmp_path / "s.gc"), "--port", port]) == 2
    assert f"--port {port}: another program answers there" in capsys.readouterr().err
    assert main(["view", str(tmp_path / "s.gc"), "--host", "300.1.1.1"]) == 2
    assert "--host 300.1.1.1: the viewer can't answer" in capsys.readouterr().err
    assert main(["view", str(tmp_path / "s.gc"), "--host", ""]) == 2  # which systems take for all of them
    assert "--host: there is no address" in capsys.readouterr().err


def test_the_command_says_where_it_answers_and_ends_when_asked(tmp_path):
    plane().save(tmp_path / "s.gc")
    command = [sys.executable, "-m", "geometrycrafter.cli.main", "view", str(tmp_path / "s.gc"), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            address = ""
            while not address:
                line = process.stdout.readline()
                assert line, process.stderr.read()
                address = line.split()[1] if line.startswith("viewer: ") else ""
            with urllib.request.urlopen(address, timeout=20) as page:
                assert b"<html" in page.read().lower()
            process.send_signal(signal.SIGINT)
            out, error = process.communicate(timeout=30)
        finally:
            process.kill()
    assert process.returncode == 0 and "viewer: ended" in out and "Traceback" not in error


def test_it_answers_this_machine_alone(viewer):
    shown = viewer(plane())
    host = shown.server._websock_server._host
    assert host == "127.0.0.1"


def test_a_frame_that_is_lost_while_it_is_looked_at_is_told_and_the_others_are_shown(viewer, tmp_path):
    shown, client, other = viewer(plane(moving=False).save(tmp_path / "s.gc"), edges=0), Client(), Client()
    there = {0: client}
    shown.server.get_clients = lambda: there
    shown.pace.ask = lambda clients: None
    lost = tmp_path / "s.gc" / "depth" / "c" / "2" / "0" / "0"
    lost.rename(tmp_path / "aside")
    for _ in range(2):
        shown.state.set(frame=2)
        until(lambda: not shown.state.changed.is_set())
        shown.state.set(frame=3)
        until(lambda: np.allclose(node(shown, "/first/camera").position, poses()[3][:3, 3]))
    shown.state.set(frame=2)
    shown.snapshot(client)
    shown.render("orbit", client, (64, 64))
    assert [said.split(":")[0] for said in client.said] == ["It can't be shown", "No picture", "Rendering", "No video"]
    assert "frame 2" in client.said[0]
    shown.state.set(frame=3)
    there[1] = other
    shown.state.relook(show="static")
    until(lambda: other.said and "frame 2" in other.said[0])
    (tmp_path / "aside").rename(lost)
    shown.state.set(frame=2)
    shown.state.relook(show="frame")
    until(lambda: np.allclose(node(shown, "/first/camera").position, poses()[2][:3, 3]))


def test_frames_are_read_and_sent_only_while_somebody_looks(viewer):
    shown = viewer(plane())
    shown.state.set(playing=True)
    until(lambda: not shown.state.changed.is_set())
    time.sleep(0.5)
    before = shown.drawings
    time.sleep(0.5)
    assert shown.drawings == before
    shown.server.get_clients = lambda: {0: Client()}
    shown.pace.ask = lambda clients: None
    until(lambda: shown.drawings > before + 2)


def test_browsers_that_do_not_answer_hold_up_neither_others_nor_the_end():
    answered, never = threading.Event(), threading.Event()

    class Asleep:
        def __init__(self, number, what):
            self.client_id, self.local_storage, self.get_item = number, self, what

    pace, before = Pace(), set(threading.enumerate())
    pace.ask([Asleep(i, lambda *_, **__: never.wait(60)) for i in range(20)])
    pace.ask([Asleep(20, lambda *_, **__: answered.set())])
    assert answered.wait(5) and all(thread.daemon for thread in set(threading.enumerate()) - before)
    never.set()
    until(pace.ready)


def test_a_flight_that_a_client_waits_for_ends_with_the_viewer(viewer):
    shown, client = viewer(plane()), Client()
    shown._stopped.set()
    shown.render("orbit", client, (64, 64))
    assert client.said[-1].startswith("No video: The viewer was ended") and not client.files


def test_a_client_names_no_file_of_this_machine(viewer, tmp_path):
    shown, client = viewer(plane()), Client()
    (tmp_path / "secret").write_text("{}")
    for path in (tmp_path / "secret", tmp_path / "none"):
        shown.render(str(path), client)
    assert client.said == []


def test_a_page_of_another_site_neither_sees_the_scene_nor_changes_it(viewer):
    from websockets.exceptions import InvalidStatus
    from websockets.sync.client import connect

    shown = viewer(plane())

    def received(**headers):
        kind = f"viser-v{viser.__version__}"
        with connect(f"ws://127.0.0.1:{shown.port}", subprotocols=[kind], additional_headers=headers) as socket:
            return len(socket.recv(timeout=10))

    for own in (f"http://127.0.0.1:{shown.port}", None):
        assert received(**({} if own is None else {"Origin": own})) > 0
    for other in (
        "http://evil.example",
        "null",
        "http://127.0.0.1:1",
        "http://[",
        f"http://127.0.0.1.evil:{shown.port}",
    ):
        with pytest.raises(InvalidStatus, match="403"):
            received(Origin=other)


def test_a_name_that_was_made_to_lead_to_this_machine_is_another_site():
    rebound = {"Origin": "http://evil.example:8080", "Host": "evil.example:8080"}
    assert foreign(rebound, "127.0.0.1") and foreign(rebound, "localhost") and not foreign(rebound, "0.0.0.0")
    tunnel = {"Origin": "http://localhost:9000", "Host": "localhost:9000"}
    assert not foreign(tunnel, "127.0.0.1") and not foreign({"Origin": "http://[::1]:1", "Host": "[::1]:1"}, "::1")


@pytest.mark.slow
def test_browsers_see_the_points_and_who_comes_later_sees_the_same(chromium, viewer):
    shown = viewer(plane(), edges=0)
    shown.state.set(frame=2)
    browser = chromium("--enable-unsafe-swiftshader")
    asked: list = []
    for size in ((1000, 700), (390, 800)):
        tab = browser.new_context(viewport={"width": size[0], "height": size[1]}).new_page()
        tab.on("request", lambda request: asked.append(request.url))
        tab.goto(f"http://127.0.0.1:{shown.port}")
        for _ in range(60):  # until the red block, which moves, is there
            tab.wait_for_timeout(500)
            seen = np.asarray(Image.open(io.BytesIO(tab.screenshot())).convert("RGB")).astype(int)
            red = ((seen[..., 0] > 230) & (seen[..., 1:] < 30).all(-1)).mean()
            blue = ((np.abs(seen[..., 2] - 200) < 8) & (np.abs(seen[..., 1] - 128) < 60)).mean()
            if seen_all := blue > 0.03 and (red > 0.005 or size[0] < 500):  # there the panel is before it
                break
        assert seen_all
    assert len(shown.server.get_clients()) == 2
    assert all(url.startswith((f"http://127.0.0.1:{shown.port}", "data:", "blob:")) for url in asked)
    client = next(iter(shown.server.get_clients().values()))
    shown.look_from_camera([client])
    until(lambda: np.allclose(client.camera.position, own_eye(shown.stages[0].clouds, 2).pose[:3, 3], atol=1e-3))
    # A click at the red block and one at the plane are places in the world.
    shown.state.set(measuring=True)
    shown.listen(True)
    wide = browser.contexts[0].pages[0]
    wide.wait_for_timeout(1000)
    seen = np.asarray(Image.open(io.BytesIO(wide.screenshot())).convert("RGB")).astype(int)[:, :640]
    rows, columns = np.nonzero((seen[..., 0] > 230) & (seen[..., 1:] < 30).all(-1))
    wide.mouse.click(float(np.median(columns)), float(np.median(rows)))
    until(lambda: len(shown.state.clicks) == 1)
    own = np.linalg.inv(shown.stages[0].clouds.pose(2)) @ [*shown.state.clicks[0], 1]
    assert abs(own[2] - 2) < 1e-3
