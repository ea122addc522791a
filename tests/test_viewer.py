"""What the viewer draws, without a browser: points, colours, ways of the camera, distances, and flights as videos."""

from __future__ import annotations

import json

import av
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_export_worlds import FRAMES, HEIGHT, NORMAL, OFFSET, WIDTH, painted, plane, poses

import geometrycrafter as gc
from geometrycrafter.cli.main import main
from geometrycrafter.errors import InputError
from geometrycrafter.export.colours import Colours
from geometrycrafter.export.views import splat
from geometrycrafter.export.world import World
from geometrycrafter.geometry import rigid
from geometrycrafter.viewer.clouds import KEPT, Clouds, Points
from geometrycrafter.viewer.look import Flight, Look
from geometrycrafter.viewer.measuring import apart, clicked, set_unit, told
from geometrycrafter.viewer.paths import Eye, between, keys_as_json, orbit, own_eye, read_keys
from geometrycrafter.viewer.rendering import picture, shown_frames


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 60))
def test_in_each_pixel_the_nearest_point_is_seen(seed, count):
    rng = np.random.default_rng(seed)
    u, v = rng.uniform(-3, 12, (2, count))
    depth, rgb, side = (
        rng.uniform(0.1, 9, count),
        rng.integers(0, 255, (count, 3)).astype(np.uint8),
        rng.integers(1, 5, count),
    )
    depth = depth.astype(np.float32)
    found = splat(u, v, depth, rgb, 7, 9, side, ground=(1, 2, 3))
    wanted = np.full((7, 9, 3), (1, 2, 3), np.uint8)
    for i in np.argsort(-depth, kind="stable"):
        x, y = (int(np.rint(a - (side[i] - 1) // 2)) for a in (u[i], v[i]))
        wanted[max(y, 0) : max(y + side[i], 0), max(x, 0) : max(x + side[i], 0)] = rgb[i]
    np.testing.assert_array_equal(found, wanted)


def centred(moving=True):
    """The plane as a camera sees it whose middle is the picture's."""
    scene = plane(moving)
    k = np.array([[60, 0, (WIDTH - 1) / 2], [0, 60, (HEIGHT - 1) / 2], [0, 0, 1]])
    x, y = np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT))
    rays = np.stack([x, y, np.ones_like(x)], -1) @ np.linalg.inv(k).T
    depth, pictures = [], []
    for t, pose in enumerate(poses()):
        z = (OFFSET - NORMAL @ pose[:3, 3]) / (rays @ pose[:3, :3].T @ NORMAL)
        picture = painted((rays * z[..., None]) @ pose[:3, :3].T + pose[:3, 3])
        if moving:
            block = np.asarray(scene.array("moving")[t])
            z, picture = np.where(block, 2.0, z), np.where(block[..., None], (255, 0, 0), picture)
        depth.append(z)
        pictures.append(picture.round().astype(np.uint8))
    out = gc.Scene.from_depth(np.stack(depth), scene.mask[:], k, np.stack(pictures), 10)
    out.set_poses(poses())
    if moving:
        out.set_array("moving", scene.array("moving")[:])
    return out


def test_from_the_clips_own_camera_a_frame_looks_as_it_was_filmed():
    scene = centred()
    clouds = Clouds(scene)
    for t in (0, 3):
        seen = picture(clouds.drawn(t, Look(edges=0)), own_eye(clouds, t), HEIGHT, WIDTH, 0.5)
        np.testing.assert_array_equal(seen[3:], scene.frames[t][3:])


def test_a_frame_from_another_side_shows_the_plane_where_it_is():
    clouds = Clouds(centred(moving=False))
    eye = Eye(own_eye(clouds, 0).pose @ rigid_of([0.4, -0.2, 0.3]), 0.4)
    seen = picture(clouds.drawn(2, Look()), eye, 120, 160).astype(float)
    x, y = np.meshgrid(np.arange(160), np.arange(120))
    rays = np.stack([(x - 79.5) / 150, (y - 59.5) / 150, np.ones_like(x)], -1) @ eye.pose[:3, :3].T
    place = eye.pose[:3, 3]
    points = rays * ((OFFSET - NORMAL @ place) / (rays @ NORMAL))[..., None] + place
    hit = (seen != (20, 23, 29)).any(-1)
    assert hit.mean() > 0.5 and np.abs(seen - painted(points))[hit].mean() < 1.5


def rigid_of(shift):
    out = np.eye(4)
    out[:3, 3] = shift
    return out


def test_what_is_shown_is_what_was_asked():
    scene = plane()
    clouds = Clouds(scene)
    mask, moving = scene.mask[1], scene.array("moving")[1]
    assert len(clouds.frame(1, Look(edges=0))) == mask.sum()
    moves = clouds.frame(1, Look(edges=0, show="moving"))
    own = rigid.apply(rigid.inverse(torch.from_numpy(poses()[1])).float(), torch.from_numpy(moves.places)).numpy()
    assert len(moves) == (mask & moving).sum() and np.abs(own[:, 2] - 2).max() < 1e-5
    cut = clouds.frame(1, Look())
    assert 0 < mask.sum() - len(cut) < 100  # both sides of the block's outline
    still = clouds.world(0, Look())
    assert len(still) > 500 and np.abs(still.places @ NORMAL - OFFSET).max() < 1e-2
    assert len(clouds.drawn(1, Look(show="both", edges=0))) == len(still) + (mask & moving).sum()
    assert len(clouds.drawn(1, Look(show="static"))) == len(still)
    assert (
        len(clouds.frame(1, Look(points=200))) <= 220
        and len(clouds.frame(1, Look(step=2, edges=0))) == mask[::2, ::2].sum()
    )
    sky = clouds.frame(1, Look(edges=0, sky=True))
    assert len(sky) == mask.size and np.isfinite(sky.places).all()


@pytest.mark.parametrize("most", [300, 700, 1100, 1900])
def test_the_static_world_is_as_fine_as_its_points_allow(most):
    cloud = World(plane()).fuse_finely(Colours(plane()), most)
    assert most * 0.4 < len(cloud) <= most and np.abs(cloud.points @ NORMAL - OFFSET).max() < 1e-2


def test_colours_tell_depth_normals_confidence_and_motion():
    scene = plane()
    values = np.linspace(0, 1, WIDTH, dtype=np.float32)[None, None].repeat(HEIGHT, 1).repeat(FRAMES, 0)
    scene.set_array("confidence", values)
    clouds, look = Clouds(scene), Look(edges=0)
    counts = clouds.frame(0, look).rgb
    assert (counts == scene.frames[0][scene.mask[0]]).all()
    confident = clouds.frame(0, Look(edges=0, colour="confidence")).rgb.astype(int)
    order = np.argsort(np.broadcast_to(values[0], (HEIGHT, WIDTH))[scene.mask[0]], kind="stable")
    redness = (confident[:, 0] - confident[:, 1])[order]
    assert redness[:200].mean() > 100 and redness[-200:].mean() < -60
    kept = clouds.frame(0, Look(edges=0, confident=0.25))
    assert abs(len(kept) / scene.mask[0].sum() - 0.75) < 0.02
    motion = clouds.frame(0, Look(edges=0, colour="motion")).rgb.astype(int)
    moving = scene.array("moving")[0][scene.mask[0]]
    assert (np.ptp(motion[~moving], axis=1) == 0).all() and (motion[moving][:, 0] > 180).all()
    normal = clouds.frame(0, Look(edges=0, colour="normal")).rgb.astype(float) / 255 * 2 - 1
    wanted = -NORMAL / np.linalg.norm(NORMAL) * np.array([1, -1, -1])
    assert np.abs(np.median(normal, 0) - wanted).max() < 0.02
    near = clouds.frame(0, Look(edges=0, colour="depth")).rgb.astype(int).sum(1)
    assert near[moving].min() > near[~moving].max() - 60  # the block is nearer: brighter


def test_memory_holds_few_frames_however_many_are_looked_at():
    frames = 3 * KEPT
    ones = np.ones((frames, 6, 6), np.float32)
    clouds = Clouds(gc.Scene.from_depth(ones, ones > 0, np.eye(3)))
    for t in range(frames):
        clouds.frame(t, Look())
    assert len(clouds._kept) == KEPT
    assert clouds.frame(frames - 1, Look()) is clouds.frame(frames - 1, Look())


def test_an_orbit_turns_about_the_middle_of_the_view_and_comes_back():
    clouds = Clouds(centred(moving=False))
    way, middle = orbit(clouds, 30), clouds.middle()
    centre = own_eye(clouds, 0).pose @ [0, 0, middle, 1]
    for share in np.linspace(0, 1, 9):
        pose = way(share, 0).pose
        own = np.linalg.inv(pose) @ centre
        np.testing.assert_allclose(own[:3], [0, 0, middle], atol=1e-9)
    np.testing.assert_allclose(way(0, 0).pose, way(1, 0).pose, atol=1e-9)
    side = np.linalg.inv(own_eye(clouds, 0).pose) @ way(0.25, 0).pose
    assert side[1, 3] < 0  # higher: y points down
    assert abs(np.degrees(np.arccos(side[2, 2]))) == pytest.approx(30, abs=2)
    back = np.linalg.inv(own_eye(clouds, 0).pose) @ orbit(clouds, 180)(0.5, 0).pose
    np.testing.assert_allclose(back[:3, 3], [0, 0, 2 * middle], atol=1e-9)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 5), st.integers(0, 2**32 - 1))
def test_a_way_between_keys_passes_through_each_and_stays_rigid(count, seed):
    rng = np.random.default_rng(seed)
    turns = rigid.rotation_of_vector(torch.from_numpy(rng.normal(size=(count, 3))))
    keys = [
        Eye(rigid.motion(r, torch.from_numpy(rng.normal(size=3))).numpy(), float(rng.uniform(0.1, 2))) for r in turns
    ]
    way = between(keys)
    for i, key in enumerate(keys):
        at = way(i / max(count - 1, 1), 0)
        np.testing.assert_allclose(at.pose, key.pose, atol=1e-6)
        assert at.height == pytest.approx(key.height)
    for share in rng.uniform(0, 1, 5):
        assert not bool(rigid.improper(torch.from_numpy(way(float(share), 0).pose), 1e-6))


def test_a_click_finds_the_nearest_point_that_covers_it():
    places = np.array([[0, 0, 2], [0.001, 0, 5], [1, 0, 3], [0, 0, -1]], np.float32)
    points = Points(places, np.zeros((4, 3), np.uint8), np.full(4, 0.01, np.float32))
    np.testing.assert_array_equal(clicked(points, np.zeros(3), np.array([0, 0, 7.0])), [0, 0, 2])
    np.testing.assert_allclose(clicked(points, np.zeros(3), np.array([1, 0, 3.0])), [1, 0, 3])
    assert clicked(points, np.zeros(3), np.array([0, 1.0, 0])) is None
    assert clicked(Points.of_all([]), np.zeros(3), np.array([0, 1.0, 0])) is None
    assert told(apart(places[0], places[1]), "m") == "3 m" and told(0.125, "m") == "12.5 cm"
    assert told(3, None) == "3 of the scene's own unit"


@pytest.mark.parametrize("posed", [True, False])
def test_a_known_distance_sets_the_unit_which_the_scene_keeps(tmp_path, posed):
    scene = plane()
    if not posed:
        scene = gc.Scene.from_depth(scene.depth[:], scene.mask[:], scene.intrinsics[:], scene.frames[:], 10)
    scene = scene.save(tmp_path / "s.gc")
    before = Clouds(scene).frame(2, Look(edges=0)).places
    measured = apart(before[5], before[900])
    found = set_unit(scene, measured, 2.5)
    for seen in (found, gc.open(tmp_path / "s.gc")):
        after = Clouds(seen).frame(2, Look(edges=0)).places
        assert seen.unit == "m" and apart(after[5], after[900]) == pytest.approx(2.5, rel=1e-4)
        np.testing.assert_allclose(after, before * (2.5 / measured), rtol=1e-4, atol=1e-4)
    again = set_unit(found, 2.5, 1.25)
    assert float(again.array("metres")[0]) == pytest.approx(1.25 / measured)
    with pytest.raises(InputError, match="click two places"):
        set_unit(again, 0.0, 1.0)


def test_a_scene_of_several_shots_has_no_one_unit(tmp_path):
    scene = plane().save(tmp_path / "s.gc")
    scene.set_array("shots", np.array([0, 2]))
    with pytest.raises(InputError, match="each of its 2 shots has a scale of its own"):
        set_unit(gc.open(tmp_path / "s.gc"), 1.0, 2.0)


def seen_frames(path):
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def test_a_flight_is_a_video_of_what_the_camera_sees(tmp_path):
    scene = centred().save(tmp_path / "s.gc")
    path = tmp_path / "f.mp4"
    flags = ["--path", "clip", "--size", f"{HEIGHT}x{WIDTH}", "--seconds", "0.7", "--edges", "0", "--point-size", "0.5"]
    assert main(["view", str(tmp_path / "s.gc"), "--render", str(path), *flags]) == 0
    frames = seen_frames(path)
    assert len(frames) == 7 and frames[0].shape == (HEIGHT, WIDTH, 3)
    for i in (0, 4, 6):  # the clip begins again after its five
        assert np.abs(frames[i].astype(int) - scene.frames[i % FRAMES])[6:].mean() < 6
    assert main(["view", str(tmp_path / "s.gc"), "--render", str(path), *flags]) == 2
    assert shown_frames(Clouds(scene), Flight()) == [i % FRAMES for i in range(60)]


def test_two_scenes_fly_side_by_side_along_keys_from_a_file(tmp_path, capsys):
    first, second = centred().save(tmp_path / "a.gc"), centred(moving=False).save(tmp_path / "b.gc")
    keys = [own_eye(Clouds(first), t) for t in (0, 4)]
    (tmp_path / "k.json").write_text(keys_as_json(keys))
    for found, key in zip(read_keys(tmp_path / "k.json"), keys, strict=True):
        np.testing.assert_allclose(found.pose, key.pose)
        assert found.height == pytest.approx(key.height)
    places = [str(tmp_path / name) for name in ("a.gc", "b.gc")]
    rest = ["--path", str(tmp_path / "k.json"), "--size", "60x164", "--seconds", "0.2", "--edges", "0"]
    assert main(["view", *places, "--render", str(tmp_path / "f.mkv"), *rest]) == 0
    frame = seen_frames(tmp_path / "f.mkv")[0].astype(int)
    red = (frame[..., 0] > 200) & (frame[..., 1] < 60)
    assert frame.shape == (60, 164, 3) and red[:, :80].any() and not red[:, 84:].any()
    (tmp_path / "bad.json").write_text(json.dumps({"keys": [{"pose": np.ones((4, 4)).tolist(), "fov": 50}]}))
    (tmp_path / "deep.json").write_text("[" * 100_000)
    (tmp_path / "long.json").write_text(json.dumps({"keys": [{"pose": np.eye(4).tolist(), "fov": 10**400}]}))
    faults = {"none": "can't be read", "bad": "no rigid motion", "deep": "no key cameras", "long": "no key cameras"}
    for name, said in faults.items():
        assert (
            main(["view", *places, "--render", str(tmp_path / "g.mkv"), "--path", str(tmp_path / f"{name}.json")]) == 2
        )
        assert said in capsys.readouterr().err and not (tmp_path / "g.mkv").exists()
    assert second.poses is not None


def test_what_view_can_not_do_is_said_in_a_sentence(tmp_path, capsys):
    plane().save(tmp_path / "a.gc")
    ones = np.ones((2, 8, 8), np.float32)
    gc.Scene.from_depth(ones, ones > 0, np.eye(3)).save(tmp_path / "b.gc")
    plane(moving=False).save(tmp_path / "c.gc")
    plane().save(tmp_path / "d.gc").set_array("pose_quality", np.zeros(FRAMES, np.float32))
    a, b, c, d = (str(tmp_path / f"{name}.gc") for name in "abcd")
    for flags, said in (
        ([a, a, a], "two scenes can be compared, and no third"),
        ([a, b, "--render", str(tmp_path / "x.mp4")], "5 and 2 frames; compare two of one video"),
        ([a, "--render", str(tmp_path / "x.gif")], "give a name that ends so"),
        ([a, "--render", str(tmp_path / "no" / "x.mp4")], "is missing; make it first"),
        ([b, "--show", "static"], "has no poses, as --show static wants; run 'geometrycrafter poses'"),
        ([c, "--render", str(tmp_path / "x.mp4"), "--show", "both"], "doesn't say what moves"),
        ([a, "--colour", "confidence"], "doesn't have a confidence"),
        ([d, "--render", str(tmp_path / "x.mp4")], "no frame's pose is known"),
        ([a, "--seconds", "3"], "--seconds is of a flight; name its video by --render FILE"),
    ):
        assert main(["view", *flags]) == 2
        assert said in capsys.readouterr().err
    for size in ("4x2", "20000x20000"):
        with pytest.raises(SystemExit, match="2"):
            main(["view", a, a, "--render", str(tmp_path / "x.mp4"), "--size", size])
        assert "give a whole number from 16 to 8,192" in capsys.readouterr().err
