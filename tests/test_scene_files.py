"""A scene's folder: read without a trace, written whole or not at all, and never lost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import zarr
from conftest import moving_pattern
from zarr.storage import LocalStore, WrapperStore

import geometrycrafter as gc
from geometrycrafter.errors import WriteError
from geometrycrafter.files import locked
from geometrycrafter.scene import Scene
from geometrycrafter.scene.writer import FrameByFrame, SceneWriter, is_scene

POSES = np.tile(np.eye(4, dtype=np.float32), (3, 1, 1))


def made(seed: int = 0, rays: bool = False) -> Scene:
    rng = np.random.default_rng(seed)
    depth = rng.uniform(1, 5, (3, 16, 24)).astype(np.float32)
    k = np.array([[20, 0, 12], [0, 20, 8], [0, 0, 1]], np.float32)
    scene = Scene.from_depth(depth, depth > 2, k, frames=moving_pattern(3, 8, 12), fps=30)
    if rays:
        scene._arrays.pop("rays", None)
        grid = rng.uniform(-1, 1, (3, 16, 24, 2)).astype(np.float32)
        scene._group.create_array("rays", shape=grid.shape, dtype=grid.dtype, chunks=(1, 16, 24, 2))[...] = grid
    return scene


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, hidden ones too."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


class CountingStore(WrapperStore):
    """A store that counts what is read from it."""

    reads: Counter[str]

    async def get(self, key, prototype, byte_range=None):
        self.reads[key.split("/")[0]] += 1
        return await self._store.get(key, prototype, byte_range)


def counted(folder: Path) -> tuple[Scene, Counter[str]]:
    store = CountingStore(LocalStore(folder, read_only=True))
    store.reads = Counter()
    return Scene(zarr.open_group(store, mode="r", zarr_format=3)), store.reads


def test_points_of_a_frame_cost_one_read_of_its_depth(tmp_path):
    made().save(tmp_path / "a.gc")
    scene, reads = counted(tmp_path / "a.gc")
    _ = scene.points[0], scene.points[1]
    reads.clear()
    for t in (2, 0, 1):
        assert np.isfinite(scene.points[t]).all()
    assert reads == {"depth": 3}


def test_points_along_free_rays_cost_one_read_more(tmp_path):
    made(rays=True).save(tmp_path / "a.gc")
    scene, reads = counted(tmp_path / "a.gc")
    _ = scene.points[0]
    reads.clear()
    _ = scene.points[1]
    assert reads == {"depth": 1, "rays": 1}


def test_intrinsics_are_read_once_and_changing_what_was_read_changes_nothing(tmp_path):
    made().save(tmp_path / "a.gc")
    scene, reads = counted(tmp_path / "a.gc")
    scene.intrinsics[0][:] = 0
    scene.intrinsics[:][:] = 0
    assert scene.intrinsics[1, 0, 0] == 20 and scene.intrinsics[0, 0, 0] == 20
    assert reads["intrinsics"] <= 4  # metadata (zarr.json; older formats are asked for too) and the values, once


READ = """
import os, sys
opened = []
def hook(event, args):
    if event == "open" and isinstance(args[0], (str, bytes, os.PathLike)) and sys.argv[1] in os.fsdecode(args[0]):
        opened.append((os.fsdecode(args[0]), args[1], args[2]))
    elif event in ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.chmod", "os.truncate", "os.link"):
        if any(sys.argv[1] in os.fsdecode(a) for a in args if isinstance(a, (str, bytes, os.PathLike))):
            raise SystemExit(f"{event} {args}")
sys.addaudithook(hook)
import geometrycrafter as gc
scene = gc.open(sys.argv[1])
for name in ("points", "mask", "intrinsics", "frames"):
    getattr(scene, name)[:]
assert scene.poses is None and len(scene.times) == 3
assert any(path.endswith("zarr.json") for path, *_ in opened), "the hook saw nothing"
written = [x for x in opened if (x[1] or "r").strip("bt") != "r" or x[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)]
sys.exit(f"opened for writing: {written}" if written else 0)
"""


def test_reading_opens_nothing_for_writing(tmp_path):
    made().save(tmp_path / "a.gc")
    for path in (tmp_path / "a.gc").rglob("*"):
        path.chmod(0o555 if path.is_dir() else 0o444)
    (tmp_path / "a.gc").chmod(0o555)
    before = tree(tmp_path)
    done = subprocess.run([sys.executable, "-c", READ, str(tmp_path / "a.gc")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert tree(tmp_path) == before


KILL = """
import os, signal, sys
from pathlib import Path
import numpy as np
import geometrycrafter as gc
from geometrycrafter.scene import open_scene
folder = Path(sys.argv[1])
old, new = (np.tile(np.diag([x, x, x, 1]).astype(np.float32), (3, 1, 1)) for x in (1, 2))

def child(work):
    pid = os.fork()
    if pid == 0:
        try:
            work()
            os._exit(0)
        except BaseException as error:
            print(error, file=sys.stderr)
            os._exit(1)
    return os.waitpid(pid, 0)[1]

def killed(at):
    seen = [0]
    def hook(event, args):
        if event in ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "shutil.rmtree"):
            seen[0] += 1
            if seen[0] == at:
                os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(hook)
    open_scene(folder).set_poses(new)

def whole():
    poses = open_scene(folder).poses
    assert poses is not None, "the poses are gone"
    assert any(np.array_equal(poses[:], x) for x in (old, new)), "the poses are torn"

def again():
    open_scene(folder).set_poses(old)
    left = [p.name for p in folder.iterdir() if p.name.startswith(".")] + [p.name for p in folder.parent.iterdir()]
    assert left == [folder.name], left

kills = 0
for at in range(1, 400):
    status = child(lambda: killed(at))
    assert child(whole) == 0 and child(again) == 0, at
    if status == 0:
        break
    assert os.WTERMSIG(status) == signal.SIGKILL
    kills += 1
print(kills)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_poses_stored_by_a_process_that_is_killed_anywhere_are_the_old_or_the_new(tmp_path):
    made().save(tmp_path / "a.gc").set_poses(POSES)
    done = subprocess.run([sys.executable, "-c", KILL, str(tmp_path / "a.gc")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 10


def test_poses_are_seen_at_once_in_memory_and_on_disk(tmp_path):
    for scene in (made(), made().save(tmp_path / "a.gc")):
        assert scene.poses is None
        scene.set_poses(2 * POSES)
        scene.set_poses(POSES)
        assert np.array_equal(scene.poses[:], POSES)
    assert np.array_equal(gc.open(tmp_path / "a.gc").poses[:], POSES)


@pytest.mark.parametrize("bad", [POSES[:2], POSES[:, :3], np.full((3, 4, 4), np.nan)])
def test_poses_that_do_not_fit_are_refused(bad):
    with pytest.raises(gc.InputError, match="poses"):
        made().set_poses(bad)


@pytest.mark.parametrize("name", ["depth", "frames", "../x", ".x", "work", "a b", ""])
def test_a_name_that_is_taken_or_no_name_is_refused(tmp_path, name):
    scene = made().save(tmp_path / "a.gc")
    before = tree(tmp_path)
    with pytest.raises(gc.InputError):
        scene.set_array(name, np.zeros(3))
    assert tree(tmp_path) == before


def test_a_scene_that_another_process_writes_is_left_alone(tmp_path):
    scene = made().save(tmp_path / "a.gc")
    with locked(tmp_path / "a.gc", "a test"), pytest.raises(gc.InputError, match="writing there"):
        scene.set_poses(POSES)
    with locked(tmp_path / "a.gc", "a test"), pytest.raises(gc.InputError, match="writing there"):
        made(1).save(tmp_path / "a.gc", overwrite=True)
    assert gc.open(tmp_path / "a.gc").poses is None


def test_arrays_of_any_name_are_kept_and_copied(tmp_path):
    scene = made().save(tmp_path / "a.gc")
    scene.set_array("confidence", np.full((3, 16, 24), 0.5, np.float32))
    scene.set_array("tracks", np.arange(7))
    (tmp_path / "a.gc" / ".poses.1-00000000.tmp").mkdir()  # another writer's, which reads as nothing
    assert is_scene(tmp_path / "a.gc")
    copy = gc.open(tmp_path / "a.gc").save(tmp_path / "b.gc")
    copy.set_array("scale", 0.5)
    assert copy.save(tmp_path / "c.gc").array("scale")[...] == 0.5
    assert np.array_equal(copy.array("tracks")[:], np.arange(7)) and (copy.array("confidence")[1] == 0.5).all()
    assert np.array_equal(copy.points[:], scene.points[:]) and copy.attributes == scene.attributes
    assert copy.array("nothing") is None


def test_only_scenes_are_replaced(tmp_path):
    folder = tmp_path / "thesis"
    folder.mkdir()
    (folder / "chapter.tex").write_text("years of work")
    (tmp_path / "file").write_text("text")
    foreign = tmp_path / "other.zarr"
    zarr.open_group(str(foreign), mode="w", zarr_format=3).create_array("depth", shape=(3,), dtype="f4")
    empty = tmp_path / "empty.gc"
    empty.mkdir()
    (empty / "zarr.json").write_text("")
    before = tree(tmp_path)
    for place in (folder, tmp_path / "file", foreign, empty):
        assert not is_scene(place)
        with pytest.raises(gc.InputError, match=place.name):
            made().save(place, overwrite=True)
    assert tree(tmp_path) == before


def test_a_scene_is_replaced_when_its_successor_is_there(tmp_path):
    made(0).save(tmp_path / "a.gc").set_poses(POSES)
    made(1).save(tmp_path / "a.gc", overwrite=True)
    scene = gc.open(tmp_path / "a.gc")
    assert np.array_equal(scene.depth[:], made(1).depth[:]) and scene.poses is None
    assert [p.name for p in tmp_path.iterdir()] == ["a.gc"]


def test_a_copy_that_fails_leaves_what_was_there(tmp_path):
    made(0).save(tmp_path / "a.gc")
    made(1).save(tmp_path / "b.gc")
    (tmp_path / "b.gc" / "depth" / "c" / "2" / "0" / "0").write_bytes(b"no chunk at all")
    before = tree(tmp_path)
    with pytest.raises(gc.InputError, match=r"b\.gc"):
        gc.open(tmp_path / "b.gc").save(tmp_path / "a.gc", overwrite=True)
    assert tree(tmp_path) == before


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_scene_saved_onto_itself_is_refused(tmp_path, overwrite):
    scene = made().save(tmp_path / "a.gc")
    (tmp_path / "link.gc").symlink_to("a.gc")
    before = tree(tmp_path / "a.gc")
    for place in (tmp_path / "a.gc", tmp_path / "link.gc"):
        with pytest.raises(gc.InputError, match="already"):
            scene.save(place, overwrite=overwrite)
    assert tree(tmp_path / "a.gc") == before


def test_a_link_to_a_scene_stays_a_link(tmp_path):
    (tmp_path / "disk").mkdir()
    made(0).save(tmp_path / "disk" / "a.gc")
    (tmp_path / "a.gc").symlink_to("disk/a.gc")
    made(1).save(tmp_path / "a.gc", overwrite=True)
    assert (tmp_path / "a.gc").is_symlink()
    assert np.array_equal(gc.open(tmp_path / "disk" / "a.gc").depth[:], made(1).depth[:])


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", '{"zarr_format": 3, "node_type": "group", "attributes": []}'])
def test_a_damaged_zarr_json_is_a_sentence(tmp_path, text):
    made().save(tmp_path / "a.gc")
    (tmp_path / "a.gc" / "zarr.json").write_text(text)
    with pytest.raises(gc.InputError, match=r"a\.gc") as caught:
        gc.open(tmp_path / "a.gc")
    assert "\n" not in str(caught.value)


def test_a_scene_of_a_newer_program_says_so(tmp_path):
    made().save(tmp_path / "a.gc")
    stored = json.loads((tmp_path / "a.gc" / "zarr.json").read_text())
    stored["attributes"]["version"] = 2
    (tmp_path / "a.gc" / "zarr.json").write_text(json.dumps(stored))
    with pytest.raises(gc.InputError, match="version 2"):
        gc.open(tmp_path / "a.gc")


def test_a_scene_is_unfinished_until_its_writer_says_otherwise(tmp_path):
    writer = SceneWriter(tmp_path / "a.gc")
    depth = writer.array("depth", (2, 4, 4), np.float32)
    assert is_scene(tmp_path / "a.gc")
    with pytest.raises(gc.InputError, match="--resume"):
        gc.open(tmp_path / "a.gc")
    depth[0] = 1
    again = SceneWriter(tmp_path / "a.gc")  # a run that goes on
    depth = again.array("depth", (2, 4, 4), np.float32)
    assert (depth[0] == 1).all() and np.isnan(depth[1]).all()
    with pytest.raises(gc.InputError, match="shape"):
        again.array("depth", (3, 4, 4), np.float32)
    depth[1] = 2
    again.put("mask", np.ones((2, 4, 4), bool))
    again.put("intrinsics", np.tile(np.eye(3, dtype=np.float32), (2, 1, 1)))
    again.finish({"fps": 12.0})
    scene = gc.open(tmp_path / "a.gc")
    assert scene.fps == 12 and scene.depth[:].tolist() == [[[1] * 4] * 4, [[2] * 4] * 4]


def test_a_run_that_has_only_begun_is_a_scene_that_is_not_finished(tmp_path):
    (tmp_path / "a.gc" / "work").mkdir(parents=True)
    (tmp_path / "a.gc" / "work" / "identity.json").write_text("{}")
    assert is_scene(tmp_path / "a.gc")
    with pytest.raises(gc.InputError, match="--resume"):
        gc.open(tmp_path / "a.gc")


def test_frames_have_times(tmp_path):
    scene = made().save(tmp_path / "a.gc")
    np.testing.assert_allclose(scene.times, [0, 1 / 30, 2 / 30])
    scene.set_array("times", np.array([0.0, 0.5, 0.7]))
    np.testing.assert_allclose(gc.open(tmp_path / "a.gc").times, [0, 0.5, 0.7])


def test_arrays_that_belong_together_are_all_new_or_all_old(tmp_path):
    """As where poses are stored, and the disk fills up in the middle."""
    made().save(tmp_path / "a.gc")
    scene = gc.open(tmp_path / "a.gc")
    old, moving = np.full((3, 6, 6), 7.0), np.ones((3, 16, 24), bool)
    scene.set_arrays({"pose_covariance": old, "moving": moving, "poses": POSES})

    def filling_up():
        yield ~moving[0]
        raise OSError(28, "No space left on device")

    new = {"pose_covariance": old + 1, "moving": FrameByFrame(moving.shape, moving.dtype, filling_up()), "poses": None}
    before = sorted(p.name for p in (tmp_path / "a.gc").iterdir())
    with pytest.raises(WriteError, match=r"moving: writing failed .No space left on device.; make room"):
        scene.set_arrays(new)
    kept = gc.open(tmp_path / "a.gc")
    np.testing.assert_array_equal(kept.array("pose_covariance")[:], old)
    np.testing.assert_array_equal(kept.array("moving")[:], moving)
    np.testing.assert_array_equal(kept.poses[:], POSES)
    assert sorted(p.name for p in (tmp_path / "a.gc").iterdir()) == before
    scene.set_arrays({"pose_covariance": old + 1, "moving": None, "poses": None})
    kept = gc.open(tmp_path / "a.gc")
    assert kept.poses is None and kept.array("moving") is None and kept.array("pose_covariance")[0, 0, 0] == 8
