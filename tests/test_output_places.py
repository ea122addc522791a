"""Where scenes, exports and figures may be written, and what becomes of links, other disks and names that are odd."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import moving_pattern, write_video
from test_scene_files import made, tree

import geometrycrafter as gc
from geometrycrafter.cli.main import main
from geometrycrafter.cli.scene_names import scene_names
from geometrycrafter.export import export, target_of
from geometrycrafter.export.figure import draw_comparison
from geometrycrafter.video.reading import open_frames

WAYS = {
    "npz": lambda scene, path: export(scene, "npz", path),
    "ply": lambda scene, path: export(scene, "ply", path),
    "mp4": lambda scene, path: export(scene, "mp4", path),
    "png": lambda scene, path: draw_comparison([scene], ["a"], path),
}
NAMES = {
    "Chinese, Japanese, Korean": "動画 と 비디오",
    "spaces": " a  b ",
    "leading dash": "-o",
    "no UTF-8": os.fsdecode(b"caf\xe9\xff"),
    "percent and colon": "pct%04d 12:30",
    "quotes": 'it\'s "quoted" `x` $HOME ;',
    "newline": "a\nb",
    "255 bytes": "n" * 251,
    "255 bytes of three each": "動" * 83 + "nn",
    "glob": "a[0-9]*?",
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_every_name_that_a_disk_takes_is_taken(tmp_path, monkeypatch, way, name):
    monkeypatch.chdir(tmp_path)
    path = WAYS[way](made(), f"{name}.{way}")
    assert [p.name for p in tmp_path.iterdir()] == [f"{name}.{way}"] and path.stat().st_size > 0


@pytest.mark.parametrize("stem", ["n" * 252, "動" * 84])
@pytest.mark.parametrize("format", ["npz", "mp4", "colmap", "nerfstudio"])
def test_an_export_of_a_scene_with_the_longest_name_has_one_that_fits(tmp_path, stem, format):
    scene = made().save(tmp_path / f"{stem}.gc")
    target = target_of(scene, format)
    assert target.parent == tmp_path and 250 < len(os.fsencode(target.name)) <= 255
    assert stem.startswith(target.name.split(".")[0])


@pytest.mark.parametrize("way", WAYS)
def test_a_link_stays_one_and_its_file_is_replaced(tmp_path, way):
    disk = Path("/dev/shm") if os.access("/dev/shm", os.W_OK) else tmp_path
    elsewhere = disk / f"gc-test-{os.getpid()}.{way}"
    try:
        link, chain = tmp_path / f"link.{way}", tmp_path / f"chain.{way}"
        link.symlink_to(elsewhere)
        chain.symlink_to(link.name)
        for _ in ("made", "replaced"):
            WAYS[way](made(), chain)
            assert chain.is_symlink() and link.is_symlink()
            assert elsewhere.is_file() and not elsewhere.is_symlink() and elsewhere.stat().st_size > 100
            elsewhere.write_bytes(b"old")
        assert sorted(p.name for p in tmp_path.iterdir()) == [chain.name, link.name]
        assert not list(disk.glob(f".gc-test-{os.getpid()}*"))
    finally:
        elsewhere.unlink(missing_ok=True)


@pytest.mark.parametrize("way", WAYS)
def test_places_that_are_no_file_are_left_as_they_are(tmp_path, monkeypatch, way):
    monkeypatch.chdir(tmp_path)
    Path("folder").mkdir()
    Path("file").write_text("mine")
    Path(f"loop.{way}").symlink_to(f"loop.{way}")
    Path(f"lost.{way}").symlink_to(f"nowhere/lost.{way}")
    os.mkfifo(f"pipe.{way}")
    Path(f"null.{way}").symlink_to("/dev/null")
    scene, before = made(), sorted(tmp_path.iterdir())
    places = ["", ".", "..", "/", "folder", "file/a", "nowhere/a", "a\0b", f"loop.{way}", f"lost.{way}", f"pipe.{way}"]
    for place in [*places, f"null.{way}", "n" * 253, "s3://bucket/a", "/proc/none/a"]:
        given = place if Path(place).suffix or place in places[:5] else f"{place}.{way}"
        with pytest.raises(gc.InputError) as error:
            WAYS[way](scene, given)
        assert "\n" not in str(error.value), place
        assert sorted(tmp_path.iterdir()) == before, place
    assert not Path("/dev/null").is_file() and Path("file").read_text() == "mine"


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return write_video(tmp_path_factory.mktemp("video") / "v.mp4", moving_pattern(1, 64, 64))


def run(*arguments):
    return main(["run", "--max-size", "64", *map(str, arguments)])


def test_scenes_land_at_links_on_other_disks_and_in_the_folder_itself(tmp_path, monkeypatch, video, capsys):
    monkeypatch.chdir(tmp_path)
    disk = Path("/dev/shm") if os.access("/dev/shm", os.W_OK) else tmp_path
    elsewhere = disk / f"gc-test-{os.getpid()}.gc"
    try:
        Path("link.gc").symlink_to(elsewhere)
        assert run(video, "-o", "link.gc") == 0
        assert run(video, "-o", "link.gc", "--overwrite") == 0
        assert Path("link.gc").is_symlink() and len(gc.open(elsewhere)) == 1
    finally:
        shutil.rmtree(elsewhere, ignore_errors=True)
    Path("here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert run(video, "-o", ".") == 0
    before = tree(tmp_path)
    for place in ("..", "/", "", str(video), "zarr.json/a.gc"):
        assert run(video, "-o", place) == 2
        said = capsys.readouterr().err
        assert said.count("error:") == 1 and "Traceback" not in said
    assert tree(tmp_path) == before and np.isfinite(gc.open(".").depth[0][gc.open(".").mask[0]]).all()


@pytest.mark.parametrize("way", [*WAYS, "flight"])
def test_a_folder_that_refuses_a_file_is_told_by_the_file_s_own_name(tmp_path, way, capsys):
    place = "/proc/a.mp4" if way == "flight" else f"/proc/a.{way}"
    if way == "flight":
        made().save(tmp_path / "a.gc")
        assert main(["view", str(tmp_path / "a.gc"), "--render", place]) == 2
        said = capsys.readouterr().err.strip().splitlines()[-1].removeprefix("error: ")
    else:
        with pytest.raises(gc.InputError) as error:
            WAYS[way](made(), place)
        said = str(error.value)
    assert said.startswith(f"{place}: writing failed (") and "tmp" not in said


def test_a_dash_is_no_file(tmp_path, monkeypatch, video, capsys):
    """Where a command takes a file or folder, what shells take for a stream is refused; ``./-`` is a name."""
    monkeypatch.chdir(tmp_path)
    made().save(tmp_path / "a.gc")
    before = tree(tmp_path)
    writing = ["eval rendered -o -", "train prior tiny-prior -o -", "benchmark --json -", "data synthesize -"]
    showing = ["export a.gc ply -", "view a.gc --render -", "compare a.gc -o -", f"run {video} -o -"]
    reading = ["info -", "export - ply", "view -", "eval folder -", "poses -", "run --depth recorded -"]
    for words in (*writing, *showing, *reading):
        try:
            status = main(words.split())
        except SystemExit as stop:
            status = stop.code
        said = capsys.readouterr().err
        assert status == 2 and said.count("\n") == 1 and "-: " in said and "standard input or output" in said, words
    assert tree(tmp_path) == before
    made().save("./-")
    assert main(["info", "./-"]) == 0 and len(gc.open("./-")) == len(made())
    Path("a").mkdir()
    monkeypatch.chdir("a")
    assert main(["export", "../-", "ply", "./-"]) == 0 and Path("-").stat().st_size > 1000


def test_inputs_with_odd_names_and_links_to_them(tmp_path, monkeypatch, video):
    monkeypatch.chdir(tmp_path)
    names = [f"{n}.mp4" for n in NAMES.values()]
    for name in names:
        Path(name).symlink_to(video)
    assert all(len(list(open_frames(name))) == 1 for name in names)
    assert len(set(scene_names(names))) == len(names)
    assert all(len(os.fsencode(name)) <= 252 for name in scene_names(names))
    few = [names[0], names[2], names[3], names[8]]
    assert run("-o", "out", "--", *few) == 0
    found = list((tmp_path / "out").iterdir())
    assert len(found) == len(few) and all(len(gc.open(p)) == 1 and p.suffix == ".gc" for p in found)
    assert all(Path(name).is_symlink() for name in names)


@pytest.mark.parametrize(
    "error", [OSError(5, "Input/output error"), RuntimeError("out of memory\nmore"), MemoryError()]
)
def test_a_fault_of_the_machine_in_one_video_does_not_end_the_others(tmp_path, monkeypatch, video, capsys, error):
    from geometrycrafter.inference.estimator import Estimator

    whole = Estimator.__call__

    def failing(self, source, **how):
        if "bad" in source.name:
            raise error
        return whole(self, source, **how)

    monkeypatch.setattr(Estimator, "__call__", failing)
    bad = shutil.copy(video, tmp_path / "bad.mp4")
    assert run(bad, video, "-o", tmp_path / "out") == 2
    said = capsys.readouterr().err
    assert "1 of 2 videos failed, the others are done" in said and "bad.mp4" in said.splitlines()[-1]
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["v.gc"]
