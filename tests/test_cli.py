"""The program as a newcomer meets it: what works, and every mistake answered with one sentence and status 2."""

from __future__ import annotations

import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import moving_pattern, write_video
from safetensors.torch import load_file, save_file
from test_video import image_file

import geometrycrafter as gc
from geometrycrafter.cli.main import main

SVD_VAE = "stable-video-diffusion-img2vid-xt/vae/diffusion_pytorch_model.fp16.safetensors"
UNET = "GeometryCrafter/unet_determ/diffusion_pytorch_model.safetensors"


def say(capsys, *arguments: object) -> tuple[int, str, str]:
    try:
        status = main([str(a) for a in arguments])
    except SystemExit as stop:
        status = int(stop.code or 0)
    said = capsys.readouterr()
    return status, said.out, said.err


def refused(capsys, *arguments: object) -> str:
    """The one sentence of a refusal."""
    status, _, err = say(capsys, *arguments)
    # On a busy machine reading takes long enough to tell how far it is.
    progress = re.compile(r"(.+: )?[a-z]+ \d+(/\d+)?(  .*)?")
    lines = [x for x in err.splitlines() if not x.startswith("warning:") and not progress.fullmatch(x)]
    assert status == 2, err
    assert len(lines) == 1 and lines[0].startswith("error: "), err
    assert "Traceback" not in err
    return lines[0]


def test_eval_tells_what_there_is_to_judge(capsys):
    for words in ([], ["-o", "rows"], ["nothing"]):
        status, _, said = say(capsys, "eval", *words)
        assert status == 2 and said.count("\n") == 1, words
        assert all(name in said for name in ("rendered", "sintel", "folder")), words
    assert "steady" in say(capsys, "eval")[2] and "ROOT is" not in said


def test_words_that_nothing_takes_name_the_command_and_the_flag_that_is_near(capsys):
    for words, near in (
        (["run", "v.mp4", "--ed", "8"], "--end"),
        (["run", "v.mp4", "--maxsize=64"], "--max-size"),
        (["data", "prepare", "folder", "a", "b", "--chek"], "--check"),
        (["info", "a", "b"], None),
        (["poses", "a.gc", "--truth", "b"], None),
    ):
        said = refused(capsys, *words)
        assert f"'geometrycrafter {' '.join(words[: 1 + (words[0] == 'data')])} --help'" in said
        assert ("perhaps" in said) == (near is not None) and (near is None or f"perhaps {near})" in said)


def test_what_is_taken_for_something_else_is_told(clip, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    how = ("--end", "1", "--max-size", "64")
    status, _, said = say(capsys, "run", clip, *how, "-o", "a.mp4")
    assert status == 0 and "a.mp4: this will be a scene, a folder; 'geometrycrafter export' makes mp4 of one." in said
    assert "this is a scene" in refused(capsys, "run", "a.mp4")
    assert "folder" in refused(capsys, "data", "prepare", "nothing", "a", "b")
    Path("strange").mkdir()
    Path("strange/a.txt").touch()
    assert "'data prepare folder'" in refused(capsys, "eval", "folder", "strange")


@pytest.mark.parametrize("place", [".", "/", "", "none", "-"])
def test_places_without_a_name_and_without_a_scene_are_told(place, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.png").write_bytes(b"")  # that an empty name does not stand for the folder
    for words in (["info", place], ["poses", place], ["export", place, "ply"], ["view", place], ["compare", place]):
        assert ("no scene" in (said := refused(capsys, *words))) == (place not in ("", "-")), said
    assert place or "name is empty" in refused(capsys, "run", place)


def test_a_run_from_video_to_exports(clip, tmp_path, capsys):
    out = tmp_path / "clip.gc"
    status, said, _ = say(capsys, "run", clip, "-o", out, "--size", "64x64")
    assert status == 0 and said.splitlines()[-1] == f"scene: {out}"
    scene = gc.open(out)
    assert scene.depth.shape == (20, 64, 96) and scene.fps == 24

    assert say(capsys, "export", out, "npz", tmp_path / "a.npz")[0] == 0
    with np.load(tmp_path / "a.npz") as archive:
        assert np.array_equal(archive["point_map"], scene.points[:]) and np.array_equal(archive["mask"], scene.mask[:])
    assert say(capsys, "export", out, "ply", tmp_path / "a.ply", "--frame", 3)[0] == 0
    header, body = (tmp_path / "a.ply").read_bytes().split(b"end_header\n")
    count = int(scene.mask[3].sum())
    assert f"element vertex {count}".encode() in header and len(body) == 15 * count
    first = np.frombuffer(body[:12], "<f4")
    np.testing.assert_allclose(first, scene.points[3][scene.mask[3]][0])
    assert say(capsys, "export", out, "mp4")[0] == 0
    from geometrycrafter.video.reading import open_frames

    preview = list(open_frames(tmp_path / "clip.mp4"))
    assert len(preview) == 20 and preview[0].shape == (64, 192, 3)


def test_several_videos_give_a_scene_each(clip, tmp_path, capsys):
    other = shutil.copy(clip, tmp_path / "other.mp4")
    assert say(capsys, "run", clip, other, "-o", tmp_path / "out", "--size", "64x64", "--end", 3)[0] == 0
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["clip.gc", "other.gc"]


def test_start_end_stride_and_camera(clip, tmp_path, capsys):
    flags = ["--start", 4, "--end", 16, "--stride", 3, "--intrinsics", "90,91,47,31", "--max-size", 64]
    assert say(capsys, "run", clip, "-o", tmp_path / "a.gc", *flags)[0] == 0
    scene = gc.open(tmp_path / "a.gc")
    assert len(scene) == 4 and scene.intrinsics[0, 0, 0] == 90 and scene.fps == 8
    assert scene.attributes["options"]["size"] == [64, 64]


def test_help_names_every_command(capsys):
    status, out, _ = say(capsys, "--help")
    assert status == 0 and all(c in out for c in ("run", "export", "models"))


def test_models_lists_what_is_to_be_had(capsys):
    status, out, _ = say(capsys, "models")
    assert status == 0
    for word in ("tiny", "embedded", "TencentARC/GeometryCrafter", "Ruicheng/moge-vitl", "stabilityai"):
        assert word in out


def test_models_check(hub, tmp_path, capsys):
    assert say(capsys, "models", "check", hub)[0] == 0
    copy = shutil.copytree(hub, tmp_path / "hub")
    tensors = load_file(copy / UNET)
    del tensors["conv_in.weight"]
    save_file(tensors, copy / UNET)
    status, out, _ = say(capsys, "models", "check", copy)
    assert status == 1 and "conv_in.weight" in out


def test_a_mirrored_folder_needs_no_network(hub, clip, tmp_path, capsys, monkeypatch):
    prior = shutil.copytree(gc.load("tiny").networks.name and _embedded() / "prior", tmp_path / "home" / "prior")
    for folder in hub.iterdir():
        shutil.copytree(folder, prior.parent / folder.name)
    monkeypatch.setenv("GEOMETRYCRAFTER_HOME", str(prior.parent))
    flags = ["--size", "64x64", "--steps", 1, "--end", 4]
    assert say(capsys, "run", clip, "-o", tmp_path / "a.gc", "--model", "diffusion", *flags)[0] == 0
    assert say(capsys, "run", clip, "-o", tmp_path / "b.gc", "--model", prior.parent, *flags)[0] == 0
    assert np.array_equal(gc.open(tmp_path / "a.gc").depth[:], gc.open(tmp_path / "b.gc").depth[:])


def _embedded() -> Path:
    from geometrycrafter.weights.places import EMBEDDED

    return EMBEDDED


def no_file(tmp: Path) -> list[object]:
    return [tmp / "nothing.mp4"]


def text_file(tmp: Path) -> list[object]:
    (tmp / "notes.mp4").write_text("this is no video\n" * 50)
    return [tmp / "notes.mp4"]


def cut_file(tmp: Path) -> list[object]:
    whole = write_video(tmp / "whole.mp4", moving_pattern(40, 64, 96, 3), options={"g": "5"})
    (tmp / "cut.mp4").write_bytes(whole.read_bytes()[: whole.stat().st_size * 6 // 10])
    return [tmp / "cut.mp4"]


def cut_streaming_file(tmp: Path) -> list[object]:
    """The index comes first, so the file opens; its pictures end half-way."""
    import av

    path = tmp / "faststart.mp4"
    with av.open(str(path), "w", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("libx264", rate=24, options={"g": "5"})
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for frame in moving_pattern(60, 64, 96, 4):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return [path]


def empty_file(tmp: Path) -> list[object]:
    (tmp / "empty.mp4").touch()
    return [tmp / "empty.mp4"]


def no_frames(tmp: Path) -> list[object]:
    return [write_video(tmp / "v.mp4", moving_pattern(4, 64, 64)), "--start", "4"]


def no_images(tmp: Path) -> list[object]:
    (tmp / "folder").mkdir()
    (tmp / "folder" / "readme.txt").write_text("nothing to see")
    return [tmp / "folder"]


def unequal_images(tmp: Path) -> list[object]:
    (tmp / "pictures").mkdir()
    for index, side in enumerate((32, 32, 48)):
        picture = np.zeros((side, side, 3), np.uint8)
        image_file(tmp / "pictures" / f"{index}.png", picture, "png", "rgb24", "rgb24")
    return [tmp / "pictures"]


MISTAKES: dict[str, tuple[Callable[[Path], list[object]], list[str], str]] = {
    "no such file": (no_file, [], "nothing.mp4"),
    "text named mp4": (text_file, [], "notes.mp4"),
    "truncated": (cut_file, [], "cut.mp4"),
    "truncated after its index": (cut_streaming_file, ["--size", "64x64"], "--end"),
    "empty": (empty_file, [], "empty.mp4"),
    "zero frames": (no_frames, [], "--start 4"),
    "folder without images": (no_images, [], "folder"),
    "images of different sizes": (unequal_images, [], "48x48"),
    "overlap beyond window": (no_frames, ["--window", "1", "--overlap", "5"], "--overlap"),
    "size not a multiple": (no_frames, ["--size", "100x100"], "64"),
    "size that is none": (no_frames, ["--size", "large"], "large"),
    "unknown device": (no_frames, ["--start", "0", "--device", "cuda:7"], "cuda:7"),
    "device that is none": (no_frames, ["--start", "0", "--device", "toaster"], "toaster"),
    "unknown model": (no_frames, ["--start", "0", "--model", "enormous"], "enormous"),
    "model to be downloaded": (no_frames, ["--start", "0", "--model", "diffusion"], "TencentARC/GeometryCrafter"),
    "camera of three numbers": (no_frames, ["--intrinsics", "1,2,3"], "--intrinsics"),
    "unknown flag": (no_frames, ["--fast"], "--fast"),
    "empty range": (no_frames, ["--start", "3", "--end", "2"], "--end"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_named_in_one_sentence(mistake, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("GEOMETRYCRAFTER_HOME", str(tmp_path / "home"))
    make, flags, named = MISTAKES[mistake]
    out = tmp_path / "out.gc"
    sentence = refused(capsys, "run", *make(tmp_path), "-o", out, *flags)
    assert named in sentence
    assert not out.exists()


def test_what_is_good_of_a_cut_video_can_be_taken(tmp_path, capsys):
    (path,) = cut_streaming_file(tmp_path)
    sentence = refused(capsys, "run", path, "-o", tmp_path / "a.gc", "--size", "64x64")
    good = sentence.split("--end ")[1].split()[0].rstrip(".;,")
    assert say(capsys, "run", path, "-o", tmp_path / "a.gc", "--size", "64x64", "--end", good)[0] == 0
    assert len(gc.open(tmp_path / "a.gc")) == int(good)


def test_an_output_below_a_file_is_refused(clip, tmp_path, capsys):
    (tmp_path / "file").touch()
    assert "file" in refused(capsys, "run", clip, "-o", tmp_path / "file" / "a.gc", "--size", "64x64")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_an_output_without_permission_is_refused(clip, tmp_path, capsys):
    (tmp_path / "locked").mkdir(mode=0o500)
    assert "locked" in refused(capsys, "run", clip, "-o", tmp_path / "locked" / "a.gc", "--size", "64x64")


def test_an_existing_output_is_not_touched(clip, tmp_path, capsys):
    out = tmp_path / "a.gc"
    assert say(capsys, "run", clip, "-o", out, "--size", "64x64", "--end", 2)[0] == 0
    before = {p: p.stat().st_mtime_ns for p in out.rglob("*")}
    assert "--overwrite" in refused(capsys, "run", clip, "-o", out, "--size", "64x64", "--end", 2)
    assert {p: p.stat().st_mtime_ns for p in out.rglob("*")} == before
    assert say(capsys, "run", clip, "-o", out, "--size", "64x64", "--end", 3, "--overwrite")[0] == 0
    assert len(gc.open(out)) == 3


def test_a_folder_of_other_things_is_never_replaced(clip, tmp_path, capsys):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter1.tex").write_text("years of work")
    sentence = refused(capsys, "run", clip, "-o", tmp_path / "thesis", "--size", "64x64", "--overwrite")
    assert "thesis" in sentence and (tmp_path / "thesis" / "chapter1.tex").exists()


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="mounting wants root on Linux")
def test_a_full_disk_stops_the_run_and_room_lets_it_go_on(clip, tmp_path, capsys):
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("this machine mounts nothing")
    try:
        out = disk / "a.gc"
        sentence = refused(capsys, "run", clip, "-o", out, "--size", "64x64")
        assert "No space left" in sentence and "--resume" in sentence
        subprocess.run(["mount", "-o", "remount,size=64m", disk], check=True)
        assert say(capsys, "run", clip, "-o", out, "--size", "64x64", "--resume")[0] == 0
        assert say(capsys, "run", clip, "-o", tmp_path / "b.gc", "--size", "64x64")[0] == 0
        assert np.array_equal(gc.open(out).depth[:], gc.open(tmp_path / "b.gc").depth[:])
    finally:
        subprocess.run(["umount", disk], check=True)


class _Hostile:
    def __init__(self, marker: Path):
        self.marker = marker

    def __reduce__(self):
        return (os.system, (f"touch {self.marker}",))


def missing_key(root: Path, tmp: Path) -> str:
    tensors = load_file(root / UNET)
    del tensors["conv_out.bias"]
    save_file(tensors, root / UNET)
    return "conv_out.bias"


def wrong_shape(root: Path, tmp: Path) -> str:
    tensors = load_file(root / SVD_VAE)
    tensors["quant_conv.weight"] = torch.zeros(8, 9, 1, 1)
    save_file(tensors, root / SVD_VAE)
    return "quant_conv.weight"


def not_numbers(root: Path, tmp: Path) -> str:
    tensors = load_file(root / UNET)
    tensors["conv_in.bias"][0] = float("nan")
    save_file(tensors, root / UNET)
    return "NaN"


def code_inside(root: Path, tmp: Path) -> str:
    (root / UNET).unlink()
    with open(root / UNET.replace(".safetensors", ".bin"), "wb") as file:
        pickle.dump({"conv_in.weight": _Hostile(tmp / "it-ran")}, file)
    return "diffusion_pytorch_model.bin"


def damaged(root: Path, tmp: Path) -> str:
    (root / UNET).write_bytes((root / UNET).read_bytes()[:5000])
    return "diffusion_pytorch_model.safetensors"


def missing_folder(root: Path, tmp: Path) -> str:
    shutil.rmtree(root / "GeometryCrafter" / "point_map_vae")
    return "point_map_vae"


def impossible_config(root: Path, tmp: Path) -> str:
    (root / "GeometryCrafter/unet_determ/config.json").write_text('{"block_out_channels": [33, 7], "in_channels": 8}')
    return "config.json"


def no_weights_file(root: Path, tmp: Path) -> str:
    (root / UNET).unlink()
    return "unet_determ"


@pytest.mark.parametrize(
    "spoil",
    [missing_key, wrong_shape, not_numbers, code_inside, damaged, missing_folder, impossible_config, no_weights_file],
)
def test_spoilt_weights_are_named_and_run_nothing(spoil, hub, clip, tmp_path, capsys):
    root = shutil.copytree(hub, tmp_path / "hub")
    named = spoil(root, tmp_path)
    flags = ["--model", root, "--variant", "deterministic", "--size", "64x64"]
    assert named in refused(capsys, "run", clip, "-o", tmp_path / "a.gc", *flags)
    assert not (tmp_path / "a.gc").exists() and not (tmp_path / "it-ran").exists()


def test_a_hostile_prior_checkpoint_runs_nothing(hub, clip, tmp_path, capsys):
    root = shutil.copytree(hub, tmp_path / "hub")
    (root / "moge-vitl").mkdir()
    torch.save({"model_config": {}, "model": _Hostile(tmp_path / "it-ran")}, root / "moge-vitl" / "model.pt")
    assert "model.pt" in refused(capsys, "run", clip, "-o", tmp_path / "a.gc", "--model", root, "--size", "64x64")
    assert not (tmp_path / "it-ran").exists()


def test_an_unfinished_scene_is_no_scene_yet(tmp_path, capsys):
    (tmp_path / "a.gc").mkdir()
    assert "a.gc" in refused(capsys, "export", tmp_path / "a.gc", "npz")


@pytest.mark.parametrize(
    "words",
    [
        ["run", "{}", "-o", "o.gc"],
        ["export", "{}", "ply"],
        ["compare", "{}"],
        ["models", "check", "{}"],
        ["eval", "folder", "{}"],
        ["data", "prepare", "sintel", "{}", "out"],
        ["data", "inspect", "{}"],
        ["train", "prior", "{}", "-o", "r"],
        ["train", "vae", "tiny-vae", "-o", "{}"],
    ],
)
def test_a_name_that_no_file_can_have_is_a_sentence(words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main([word.replace("{}", 300 * "a") for word in words]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and said.count("\n") == 1


def test_the_program_runs_from_a_folder_of_sources():
    code = (
        "import importlib.metadata as m\n"
        "def missing(name): raise m.PackageNotFoundError(name)\n"
        "m.version = missing\n"
        "from geometrycrafter.cli.main import main\nmain(['--version'])"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    changes = (Path(__file__).parents[1] / "CHANGELOG.md").read_text()
    newest = re.search(r"^## (\S+), ", changes, re.MULTILINE)
    assert newest and said == f"geometrycrafter {newest[1]}\n"


@pytest.mark.parametrize("command", [("compare",), ("eval",), ("data", "prepare"), ("data", "synthesize")])
def test_help_names_a_default_once_and_as_one_would_write_it(capsys, command):
    with pytest.raises(SystemExit):
        main([*command, "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert not re.search(r"\(default: (None|False|\[\]|\(|\))", text)
    assert not re.search(r"\(default[^)]*\) \(default", text)
    assert "(default: " in text


def test_an_interrupt_that_a_library_makes_an_error_of_is_an_interrupt(clip, tmp_path, monkeypatch, capsys):
    # NumPy and Zarr recurse without end where they are interrupted while they are loaded.
    def loaded(args):
        try:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(5)
        except KeyboardInterrupt:
            raise RecursionError("maximum recursion depth exceeded") from None

    monkeypatch.setattr("geometrycrafter.cli.run._loaded", loaded)
    status, said, err = say(capsys, "run", clip, "-o", tmp_path / "a.gc")
    assert (status, said, err) == (130, "", "stopped; go on with the same command and --resume.\n")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_interrupt_while_commands_are_loaded_is_one_line():
    code = (
        "import builtins, sys\nfrom geometrycrafter.__main__ import main\nload = builtins.__import__\n"
        "def interrupted(name, *rest):\n"
        "    if name == 'geometrycrafter.cli.main': raise KeyboardInterrupt\n"
        "    return load(name, *rest)\n"
        "builtins.__import__ = interrupted\nsys.exit(main())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (130, "stopped; nothing was begun.\n")
