"""Rows of an evaluation: what they are known by, who writes them, and what becomes of clips that can't be judged."""

from __future__ import annotations

import dataclasses
import json
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import trees
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from geometrycrafter.cli.main import main
from geometrycrafter.cli.progress import counting
from geometrycrafter.errors import InputError
from geometrycrafter.evaluation.clips import clips_of, true_points
from geometrycrafter.evaluation.engines import LocalEngine
from geometrycrafter.evaluation.methods import (
    DepthCrafterMethod,
    Method,
    ModelPrior,
    MoGeMethod,
    Predictions,
    Ramp,
    VideoModel,
    Wall,
)
from geometrycrafter.evaluation.protocols import protocol_of
from geometrycrafter.evaluation.report import Report, combined, reasons, table_of
from geometrycrafter.evaluation.runner import evaluate
from geometrycrafter.weights.places import EMBEDDED

PROTOCOL = protocol_of("rendered")


class Counting(LocalEngine):
    """An engine that knows what it was asked for: pairs of clip and method."""

    def __call__(self, work, jobs):
        object.__setattr__(self, "asked", [(j.clip.name, t.method.name) for j in jobs for t in j.tasks])
        return super().__call__(work, jobs)


def asked_for(methods, clips, folder) -> list[tuple[str, str]]:
    """What had to be judged."""
    engine = Counting()
    evaluate(methods, clips, folder, engine)
    return engine.asked


@pytest.fixture(scope="module")
def clips():
    return clips_of(PROTOCOL, None, limit=2, frames=2)


@pytest.fixture(scope="module")
def points(clips):
    return {c.name: np.stack(list(true_points(c.load()))).astype(np.float32) for c in clips}


# What a row is known by --------------------------------------------------------------------------------------------


def test_progress_counts_frames_that_are_judged_now(clips, tmp_path, capsys):
    told = []
    for _ in range(2):
        evaluate([Wall(), Ramp()], clips, tmp_path / "rows", progress=lambda *step: told.append(step))
    assert told == [(0, 4, 0), (1, 4, 2), (2, 4, 4), (3, 4, 6), (4, 4, 8), (4, 4, 0)]
    with counting("rows") as show:
        show(0, 2, 0)
        time.sleep(0.06)
        show(2, 2, 30)
    assert re.search(r"^rows 2/2  \d+\.\d frames/s, ", capsys.readouterr().err)


def test_a_retrained_hub_is_judged_anew_and_a_moved_one_is_not(clips, tmp_path):
    hub, one = tmp_path / "hub", clips[:1]
    shutil.copytree(EMBEDDED, hub)
    before = evaluate([VideoModel("hub", str(hub), "deterministic")], one, tmp_path / "out").rows[0]
    assert asked_for([VideoModel("hub", str(hub), "deterministic")], one, tmp_path / "out") == []
    hub = hub.rename(tmp_path / "elsewhere")
    assert asked_for([VideoModel("hub", str(hub), "deterministic")], one, tmp_path / "out") == []

    file = hub / "GeometryCrafter" / "unet_determ" / "diffusion_pytorch_model.safetensors"
    with safe_open(file, "pt") as stored:
        about = stored.metadata()
    trained = {k: v + 0.05 * torch.randn_like(v) for k, v in load_file(file).items()}
    save_file(trained, file, metadata=about)
    after = evaluate([VideoModel("hub", str(hub), "deterministic")], one, tmp_path / "out").rows[0]
    assert after["figures"] != before["figures"]


@pytest.mark.parametrize("part", ["prior/model.safetensors", "GeometryCrafter/point_map_vae/config.json"])
def test_every_file_of_a_hub_counts(part, tmp_path):
    hub = tmp_path / "hub"
    shutil.copytree(EMBEDDED, hub)
    before = VideoModel("hub", str(hub)).identity, ModelPrior("prior", str(hub)).identity
    data = bytearray((hub / part).read_bytes())
    data[-2] ^= 1
    (hub / part).write_bytes(data)
    after = VideoModel("hub", str(hub)).identity, ModelPrior("prior", str(hub)).identity
    assert before[0] != after[0] and (before[1] != after[1]) == part.startswith("prior")


def test_settings_of_a_model_count_and_its_name_does_not():
    known = VideoModel("a").identity
    assert VideoModel("b").identity == known
    others = [VideoModel("a", seed=1), VideoModel("a", steps=2), VideoModel("a", variant="diffusion")]
    assert len({json.dumps(m.identity) for m in others} | {json.dumps(known)}) == 4


def test_other_predictions_are_judged_anew_and_the_same_elsewhere_are_not(clips, points, tmp_path):
    folder, out = tmp_path / "a", tmp_path / "out"
    frames = folder / clips[1].name / "points"
    frames.mkdir(parents=True)
    np.savez(folder / f"{clips[0].name}.npz", point_map=points[clips[0].name])
    for t, one in enumerate(points[clips[1].name]):
        np.save(frames / f"{t}.npy", one)
    assert len(asked_for([Predictions("p", str(folder))], clips, out)) == 2
    folder = folder.rename(tmp_path / "b")
    assert asked_for([Predictions("p", str(folder))], clips, out) == []
    np.savez(folder / f"{clips[0].name}.npz", point_map=2 * points[clips[0].name])
    assert asked_for([Predictions("p", str(folder))], clips, out) == [(clips[0].name, "p")]
    np.save(folder / clips[1].name / "points" / "1.npy", 2 * points[clips[1].name][1])
    assert asked_for([Predictions("p", str(folder))], clips, out) == [(clips[1].name, "p")]


def test_another_root_is_judged_anew_and_a_copy_is_not(tmp_path):
    shape = (375, 1242)
    for name, focal in (("a", 720), ("b", 700)):
        trees.kitti(tmp_path / name, shape, trees.square(shape, focal=focal))
    shutil.copytree(tmp_path / "a", tmp_path / "copy", copy_function=shutil.copy)
    kitti = protocol_of("kitti")
    asked = {
        name: asked_for([Ramp()], clips_of(kitti, tmp_path / name, frames=2), tmp_path / "out")
        for name in ("a", "copy", "b")
    }
    assert [len(found) for found in asked.values()] == [1, 0, 1]
    depth = min((tmp_path / "b").rglob("groundtruth/image_02/*.png"))
    shutil.copy(next((tmp_path / "a").rglob("image_02/data/*.png")), depth)
    assert len(evaluate([Ramp()], clips_of(kitti, tmp_path / "b", frames=2), tmp_path / "out").failures) == 1


def test_names_that_look_alike_as_files_keep_rows_of_their_own(clips, points, tmp_path):
    for name, factor in (("p", 1), ("q", 3)):
        (tmp_path / name).mkdir()
        np.savez(tmp_path / name / f"{clips[0].name}.npz", point_map=points[clips[0].name] ** factor)
    methods = [Predictions("x/y", str(tmp_path / "p")), Predictions("x:y", str(tmp_path / "q"))]
    first, second = evaluate(methods, clips[:1], tmp_path / "out").rows
    assert first["figures"]["point_rel"] < 1e-5 < second["figures"]["point_rel"]
    assert asked_for(methods, clips[:1], tmp_path / "out") == []


def test_methods_go_to_other_processes_as_a_few_words():
    methods = [
        VideoModel("m", "tiny", "diffusion", 3, 1),
        ModelPrior("p"),
        MoGeMethod("moge", "model.pt"),
        DepthCrafterMethod("d", "hub"),
        Predictions("w", "folder"),
        Wall(),
        Ramp(),
    ]
    for method in methods:
        sent = pickle.dumps(method)
        assert pickle.loads(sent) == method and len(sent) < 500 and hash(method) == hash(pickle.loads(sent))


# Who writes them -----------------------------------------------------------------------------------------------------


def test_a_second_evaluation_into_one_folder_is_refused_until_the_first_is_gone(tmp_path, capsys):
    folder = tmp_path / "out"
    code = "import sys, time, pathlib; from geometrycrafter.files import locked\n"
    code += "with locked(pathlib.Path(sys.argv[1]), 'an evaluation'): print('held', flush=True); time.sleep(60)"
    flags = ["eval", "rendered", "--predictions", f"none={tmp_path}", "--baseline", "ramp", "--clips", "1"]
    flags += ["--frames", "2", "-o", str(folder)]
    with subprocess.Popen([sys.executable, "-c", code, str(folder)], stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout is not None and first.stdout.readline() == "held\n"
        assert main(flags) == 2
        said = capsys.readouterr().err
        assert f"process {first.pid}" in said and not (folder / "rows").exists()
        first.send_signal(signal.SIGKILL)
    assert main(flags) == 2  # there are no predictions; the ramp's row is there all the same
    assert "process" not in capsys.readouterr().err and len(list(folder.rglob("rows/*/*.json"))) == 1


@dataclass(frozen=True)
class Ending(Method):
    """Goes down with its process."""

    @property
    def identity(self) -> dict[str, Any]:
        return {}

    def prepare(self, device):
        return lambda clip, name, protocol: os._exit(9)


@dataclass(frozen=True)
class Faulty(Method):
    """Can't do what is asked of it, in one way or another."""

    error: type[Exception] = MemoryError

    @property
    def identity(self) -> dict[str, Any]:
        return {}

    def prepare(self, device):
        def predict(clip, name, protocol):
            raise self.error

        return predict


def test_a_process_that_is_ended_from_outside_is_a_sentence(clips, tmp_path):
    with pytest.raises(InputError, match="one of them was ended"):
        evaluate([Ending("e")], clips, tmp_path / "out", LocalEngine(2))


@pytest.mark.parametrize("error", [MemoryError, RuntimeError, InputError, OSError, np.linalg.LinAlgError])
def test_whatever_a_method_runs_into_is_a_reason(error, clips, tmp_path):
    found = evaluate([Faulty("f", error), Wall()], clips, tmp_path / "out")
    assert [f["method"] for f in found.failures] == ["f", "f"] and len(found.rows) == 2
    assert all(f["reason"] or error is InputError for f in found.failures)


def test_a_fault_of_the_program_is_not_one_of_the_clip(clips, tmp_path):
    with pytest.raises(AttributeError):
        evaluate([Faulty("f", AttributeError)], clips, tmp_path / "out")


# Clips that can't be judged ------------------------------------------------------------------------------------------


def broken(folder: Path, name: str, kind: str, good: np.ndarray) -> None:
    """A prediction that is not as it should be."""
    file = folder / f"{name}.npz"
    if kind == "truncated":
        np.savez(file, point_map=good)
        file.write_bytes(file.read_bytes()[:-100])
    elif kind == "flipped":
        np.savez_compressed(file, point_map=good)
        data = bytearray(file.read_bytes())
        data[len(data) // 2] ^= 255
        file.write_bytes(data)
    elif kind == "empty":
        file.write_bytes(b"")
    elif kind == "shape":
        np.savez(file, point_map=good[:, :10])
    elif kind == "words":
        np.savez(file, point_map=np.full(good.shape, "a"))
    elif kind == "objects":
        np.savez(file, point_map=np.full(good.shape, None))
    elif kind == "other":
        np.savez(file, colours=good)
    elif kind == "array":
        (folder / f"{name}.npy").write_bytes(b"\x93NUMPY\x01\x00")
    elif kind == "no frames":
        (folder / name).mkdir()
    else:
        (folder / name / "points").mkdir(parents=True)
        for t in range(len(good)):
            np.save(folder / name / "points" / f"{t}.npy", good[t].astype("U1") if t else good[t])


KINDS = ("truncated", "flipped", "empty", "shape", "words", "objects", "other", "array", "no frames", "frames of words")


@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_prediction_is_one_sentence_and_the_other_clips_are_judged(kind, clips, points, tmp_path, capsys):
    folder = tmp_path / "p"
    folder.mkdir()
    bad, good = clips
    broken(folder, bad.name, kind, points[bad.name])
    np.savez(folder / f"{good.name}.npz", point_map=points[good.name])
    flags = ["--predictions", str(folder), "--baseline", "ramp", "--clips", "2", "--frames", "2"]
    assert main(["eval", "rendered", *flags, "-o", str(tmp_path / "out")]) == 2
    out, err = capsys.readouterr()
    lines = [line for line in err.splitlines() if line.startswith("error")]
    assert len(lines) == 1 and lines[0].startswith(f"error: {bad.name} (p): ") and "Traceback" not in err
    assert "Methods were judged on different clips" in " ".join(out.split())
    stored = json.loads((tmp_path / "out" / "report.json").read_text())
    assert stored["judged"] == {"p": 1, "ramp": 2}
    assert [(f["method"], f["clip"]) for f in stored["failures"]] == [("p", bad.name)]
    text = (tmp_path / "out" / "report.md").read_text()
    assert f"- {bad.name} (p): " in text and "| 1/2 |" in text and "| 2/2 |" in text
    # Mended, the same command judges what is missing, and nothing else.
    shutil.rmtree(folder)
    folder.mkdir()
    for clip in clips:
        np.savez(folder / f"{clip.name}.npz", point_map=points[clip.name])
    assert main(["eval", "rendered", *flags, "-o", str(tmp_path / "out")]) == 0


def test_a_clip_that_cannot_be_read_is_said_once_for_all_methods(clips, tmp_path):
    lost = dataclasses.replace(clips[0], protocol="folder", name="lost", root=str(tmp_path / "nowhere"))
    found = evaluate([Wall(), Ramp()], [lost, clips[1]], tmp_path / "out")
    assert [r["clip"] for r in found.rows] == [clips[1].name] * 2
    report = Report(PROTOCOL, found.rows, found.failures)
    assert reasons(report) == [f"lost: {tmp_path / 'nowhere'}: there is no such folder."]


def test_weights_that_are_missing_or_damaged_stop_before_anything_is_judged(tmp_path, capsys):
    hub = tmp_path / "hub"
    shutil.copytree(EMBEDDED, hub)
    file = hub / "stable-video-diffusion-img2vid-xt" / "vae" / "diffusion_pytorch_model.safetensors"
    out = tmp_path / "out"
    shared = ["--predictions", str(tmp_path), "--clips", "1", "--frames", "2", "-o", str(out)]
    for flags, wanted in (
        (["--baseline", "ramp", "--baseline", f"moge={tmp_path / 'model.pt'}"], "model.pt"),
        (["--baseline", "ramp", "--baseline", f"depthcrafter={tmp_path}"], "DepthCrafter"),
        (["--baseline", "ramp", "--model", str(tmp_path / "nowhere")], "nowhere"),
        (["--baseline", "ramp", "--model", str(hub)], str(file)),
    ):
        file.write_bytes(file.read_bytes()[:5000])
        assert main(["eval", "rendered", *flags, *shared]) == 2
        said = capsys.readouterr().err
        assert wanted in said and "Traceback" not in said and not list(out.rglob("rows/*/*.json")), said


# Reports over different clips ----------------------------------------------------------------------------------------


def rows_of(**figures: dict[str, float]):
    """Rows of methods, each with an error for some clips."""
    return [
        {
            "identity": {"clip": {"frames": None}},
            "method": method,
            "clip": clip,
            "frames": 2,
            "size": [4, 4],
            "seconds_a_frame": 0.1,
            "figures": {"point_rel": error, "affine_rel": error},
        }
        for method, own in figures.items()
        for clip, error in own.items()
    ]


def test_leaving_out_what_is_hard_wins_nothing():
    failures = [{"method": "picky", "clip": "hard", "reason": "out of memory"}]
    rows = rows_of(whole={"easy": 0.1, "hard": 0.9}, picky={"easy": 0.2})
    report = Report(PROTOCOL, rows, failures)
    assert report.cell("picky", "point_rel").mean < report.cell("whole", "point_rel").mean
    assert report.ranks() == {"whole": 1, "picky": 2}
    header, lines, notes = table_of(report)
    assert [line[header.index("clips")] for line in lines] == ["2/2", "1/2"]
    assert len(notes) == 1 and "1 here" in notes[0]
    table = combined([report])
    assert table.lines[1][1] == "20.0/–*" and table.notes and table.lines[0][1] == "50.0/–"


def test_methods_without_a_clip_in_common_are_not_ranked():
    failures = [{"method": m, "clip": c, "reason": "lost"} for m, c in (("a", "two"), ("b", "one"))]
    report = Report(PROTOCOL, rows_of(a={"one": 0.1}, b={"two": 0.2}), failures)
    assert report.ranks() == {} and report.best(report.columns[0]) is None
    nothing = Report(PROTOCOL, [], failures)
    assert nothing.methods == ["a", "b"] and table_of(nothing).lines[0][-2:] == ["0/2", "–"]


def test_a_report_of_earlier_metrics_is_not_put_beside_others(clips, tmp_path, capsys):
    flags = ["--baseline", "ramp", "--baseline", "constant", "--predictions", f"x={tmp_path}"]
    main(["eval", "rendered", *flags, "--clips", "1", "--frames", "2", "-o", str(tmp_path / "out")])
    assert main(["eval", "table", str(tmp_path / "out")]) == 0
    file = tmp_path / "out" / "report.json"
    stored = json.loads(file.read_text())
    del stored["about"]["metrics"]
    file.write_text(json.dumps(stored))
    capsys.readouterr()
    assert main(["eval", "table", str(tmp_path / "out")]) == 2
    assert "run that evaluation again" in capsys.readouterr().err
    for broken in ("{}", "[]", "null", '{"about": {"protocol": "rendered-v1", "metrics": 2}, "rows": [1]}', ""):
        file.write_text(broken)
        assert main(["eval", "table", str(tmp_path / "out")]) == 2
        assert "no report of an evaluation" in capsys.readouterr().err


# Numbers and places -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("flag", ["--clips", "--frames", "--stride", "--processes", "--steps", "--seed"])
@pytest.mark.parametrize("value", ["0", "-1", "2.5", "nan", "inf", "1e3", "99999999999999999999", "", "x"])
def test_numbers_that_cannot_be_are_refused_by_their_flag(flag, value, capsys):
    if (flag, value) == ("--seed", "0"):
        return
    with pytest.raises(SystemExit) as stopped:
        main(["eval", "rendered", f"{flag}={value}"])
    assert stopped.value.code == 2 and flag in capsys.readouterr().err


def test_python_refuses_the_same_numbers():
    for bad in ({"limit": 0}, {"stride": 0}, {"frames": -1}, {"frames": 1.5}, {"stride": np.nan}, {"limit": True}):
        with pytest.raises(InputError, match="give a whole number"):
            clips_of(PROTOCOL, None, **bad)
    with pytest.raises(InputError, match="processes"):
        LocalEngine(0)
    with pytest.raises(InputError, match="steps"):
        _ = VideoModel("m", steps=0).identity


def test_a_recording_whose_first_frame_has_no_depth_is_judged(tmp_path, capsys):
    folder = tmp_path / "recording"
    (folder / "rgb").mkdir(parents=True)
    (folder / "depth").mkdir()
    rng = np.random.default_rng(0)
    for t in range(3):
        trees.picture(folder / "rgb" / f"{t}.png", rng.integers(0, 255, (48, 64, 3), np.uint8))
        trees.picture(folder / "depth" / f"{t}.png", np.full((48, 64), 2000 * (t > 0), np.uint16))
    (folder / "camera.txt").write_text("60 60 31.5 23.5")
    (tmp_path / "bare").mkdir()
    flags = ["--predictions", f"x={tmp_path / 'bare'}", "--baseline", "constant"]
    assert main(["eval", "folder", str(folder), *flags, "-o", str(tmp_path / "out")]) == 2
    capsys.readouterr()
    stored = json.loads((tmp_path / "out" / "report.json").read_text())
    assert stored["about"]["frames without truth"] == {"constant": 1, "x": 0}
    assert stored["means"]["constant"]["affine_rel"]["mean"] < 1e-6
    assert main(["eval", "folder", str(tmp_path / "bare"), *flags, "-o", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert "bare: the folder is empty" in said and "Traceback" not in said


@pytest.mark.parametrize(
    "flags",
    [
        ["kitti", "s3://bucket/kitti"],
        ["rendered", "-o", "s3://bucket/out"],
        ["rendered", "--predictions", "ours=https://example.org/predictions"],
        ["rendered", "--predictions", "gs://bucket/a=b"],
        ["rendered", "--model", "s3://bucket/hub"],
        ["rendered", "--baseline", "moge=https://example.org/model.pt"],
        ["rendered", "--baseline", "depthcrafter=s3://bucket/hub"],
        ["table", "s3://bucket/out"],
    ],
)
def test_what_must_be_on_a_local_disk_says_so(flags, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    try:
        status = main(["eval", *flags])
    except SystemExit as stopped:
        status = stopped.code
    said = capsys.readouterr().err
    assert status == 2 and "local disk" in said and "://" in said and not list(tmp_path.iterdir()), said


def test_names_that_are_no_utf_8_are_judged_and_written(tmp_path, capsys):
    place = Path(os.fsdecode(os.fsencode(tmp_path) + b"/odd\xff"))
    place.mkdir()
    z = np.ones((2, 192, 256), np.float32)
    np.savez(place / "rendered-20000000.npz", depth=z)
    asked = ["eval", "rendered", "--clips", "1", "--frames", "2", "--baseline", "none", "--predictions", str(place)]
    assert main([*asked, "-o", str(place / "out")]) == 0
    assert main(["eval", "table", str(place / "out"), "-o", str(place / "tables")]) == 0
    for path in (place / "out" / "report.md", place / "out" / "report.json", place / "tables" / "table.tex"):
        assert "odd" in path.read_bytes().decode()  # UTF-8 all the same
    assert len(list((place / "out" / "rows").glob("*/*.json"))) == 1
