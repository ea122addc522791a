"""The eval command: protocols, methods, rows and reports."""

from __future__ import annotations

import csv
import io
import json

import av
import numpy as np
import pytest
import trees

from geometrycrafter.cli.main import main
from geometrycrafter.data.synthesis import rendered
from geometrycrafter.evaluation.clips import clips_of, true_points
from geometrycrafter.evaluation.engines import LocalEngine
from geometrycrafter.evaluation.measure import measure
from geometrycrafter.evaluation.methods import Predictions, Ramp
from geometrycrafter.evaluation.protocols import protocol_of
from geometrycrafter.evaluation.published import published
from geometrycrafter.evaluation.runner import evaluate
from geometrycrafter.scene import Scene


def run_eval(*flags):
    return main(["eval", *map(str, flags)])


def write_predictions(folder, clips, change):
    for reference in clips:
        clip = reference.load()
        points = np.stack(list(true_points(clip))).astype(np.float32)
        np.savez(folder / f"{reference.name}.npz", point_map=change(points))


@pytest.fixture(scope="module")
def truths():
    return clips_of(protocol_of("rendered"), None, limit=2, frames=3)


def test_true_points_score_perfectly_and_reports_say_so(truths, tmp_path, capsys):
    (tmp_path / "good").mkdir()
    write_predictions(tmp_path / "good", truths, lambda p: 3 * p)
    flags = ["--predictions", f"perfect={tmp_path / 'good'}", "--baseline", "constant", "--clips", 2, "--frames", 3]
    assert run_eval("rendered", *flags, "-o", tmp_path / "out") == 0
    said = capsys.readouterr().out
    assert "rendered-v1: 2 clips" in said and "perfect" in said
    stored = json.loads((tmp_path / "out" / "report.json").read_text())
    means = stored["means"]["perfect"]
    for key in ("point_rel", "depth_rel", "affine_rel", "flicker", "drift", "normal_mean"):
        assert means[key]["mean"] == pytest.approx(0, abs=1e-3), key
    for key in ("point_inlier", "affine_inlier", "boundary_f1"):
        assert means[key]["mean"] == pytest.approx(1, abs=1e-4), key
    assert stored["ranks"] == {"perfect": 1, "constant": 2}
    assert stored["about"]["protocol"] == "rendered-v1" and stored["about"]["torch"]
    rows = list(csv.DictReader(io.StringIO((tmp_path / "out" / "report.csv").read_text())))
    assert len(rows) == 4 and float(rows[0]["point_inlier"]) == 1
    constant = [r["figures"]["point_rel"] for r in stored["rows"] if r["method"] == "constant"]
    cell = stored["means"]["constant"]["point_rel"]
    assert cell["mean"] == pytest.approx(np.mean(constant))
    assert min(constant) - 1e-9 <= cell["low"] <= cell["mean"] <= cell["high"] <= max(constant) + 1e-9
    latex = (tmp_path / "out" / "report.tex").read_text()
    assert r"\begin{tabular}" in latex and r"\textbf{0.0}" in latex
    assert "| perfect | 0.0 | 100.0 |" in (tmp_path / "out" / "report.md").read_text()
    assert run_eval("table", tmp_path / "out") == 0
    printed = capsys.readouterr().out
    assert "rendered Rel^p/δ^p" in printed and not list(tmp_path.glob("*/table.*"))
    assert run_eval("table", tmp_path / "out", "-o", tmp_path / "tables") == 0
    assert f"written: {tmp_path / 'tables' / 'table.tex'}" in capsys.readouterr().out
    table = (tmp_path / "tables" / "table.md").read_text()
    assert "rendered Rel^p/δ^p" in table.splitlines()[0]
    assert [line.split("|")[1].strip() for line in table.splitlines()[2:4]] == ["perfect", "constant"]
    assert r"\begin{tabular}" in (tmp_path / "tables" / "table.tex").read_text()


def test_predictions_come_in_many_files(truths, tmp_path):
    reference = truths[0]
    clip = reference.load()
    z = np.where(clip.depth > 0, clip.depth, 1).astype(np.float32)
    np.savez(tmp_path / f"{reference.name}.npz", disparity=0.3 / z + 0.05)
    by_npz = Predictions("a", str(tmp_path)).prepare("cpu")(clip, reference.name, protocol_of("rendered"))
    assert measure(clip, by_npz, protocol_of("rendered"))["affine_rel"] == pytest.approx(0, abs=2e-4)
    folder = tmp_path / "frames"
    places = {"exr": folder / "e" / reference.name, "png": folder / "p" / reference.name}
    for place in places.values():
        place.mkdir(parents=True)
    for t in range(len(clip)):
        trees.exr(places["exr"] / f"{t}.exr", Z=z[t])
        trees.picture(places["png"] / f"{t}.png", np.rint(np.minimum(z[t], 250) * 250).astype(np.uint16))
    for place in places.values():
        predict = Predictions("b", str(place.parent)).prepare("cpu")
        made = predict(clip, reference.name, protocol_of("rendered"))
        figures = measure(clip, made, protocol_of("rendered"))
        assert figures["depth_rel"] < 0.005 and "point_rel" not in figures


def test_predictions_that_do_not_fit_stop_with_the_clips_name(truths, tmp_path, capsys):
    name = truths[0].name
    cases = {
        "shape": np.ones((3, 10, 10, 3), np.float32),
        "frames": np.ones((2, 192, 256, 3), np.float32),
    }
    for case, array in cases.items():
        folder = tmp_path / case
        folder.mkdir()
        np.savez(folder / f"{name}.npz", point_map=array)
        flags = ["--predictions", folder, "--baseline", "none", "--clips", 1, "--frames", 3, "-o", tmp_path / "o"]
        assert run_eval("rendered", *flags) == 2
        said = capsys.readouterr().err
        assert name in said and "has shape" in said and "Traceback" not in said
    for flags, wanted in (
        (["rendered", "--predictions", tmp_path / "nowhere"], "no folder"),
        (["virtual-kitti", tmp_path], "this data set trains"),
        (["sintel", tmp_path], "looks like Sintel"),
        (["kitti"], "folder is missing"),
        (["rendered", "--protocol", "paper-kitti"], "rendered-v1"),
        (["rendered", "--baseline", "magic"], "--baseline magic"),
    ):
        assert run_eval(*flags, "-o", tmp_path / "o") == 2
        said = capsys.readouterr().err
        assert wanted in said and "Traceback" not in said, said


def test_an_evaluation_goes_on_where_it_was_and_spreads_over_processes(truths, tmp_path):
    (tmp_path / "p").mkdir()
    write_predictions(tmp_path / "p", truths, lambda p: p + 0.1 * np.sin(40 * p))
    methods = [Predictions("wavy", str(tmp_path / "p")), Ramp()]
    whole = evaluate(methods, truths, tmp_path / "a").rows
    spread = evaluate(methods, truths, tmp_path / "b", LocalEngine(2)).rows
    assert len(whole) == 4 and [r["figures"] for r in whole] == [r["figures"] for r in spread]
    judged = []

    def engine(work, jobs):
        for job in jobs:
            for outcome in work(job):
                judged.append(outcome)
                if len(judged) == 2:
                    raise KeyboardInterrupt
                yield outcome

    with pytest.raises(KeyboardInterrupt):
        evaluate(methods, truths, tmp_path / "c", engine)
    assert [r["figures"] for r in evaluate(methods, truths, tmp_path / "c", engine).rows] == [
        r["figures"] for r in whole
    ]
    assert len(judged) == 2 + 2  # two rows were there already


def test_a_protocol_reads_a_data_set_as_it_is_distributed(tmp_path, capsys):
    shape = (375, 1242)
    truth = trees.kitti(tmp_path / "kitti", shape, trees.square(shape, focal=720))
    assert (
        run_eval("kitti", tmp_path / "kitti", "--baseline", "ramp", "--predictions", tmp_path, "-o", tmp_path / "o")
        == 2
    )
    assert "2011_09_26_drive_0002_sync" in capsys.readouterr().err
    points = truth.points[:, 3:371, 253:989].astype(np.float32)
    np.savez(tmp_path / "2011_09_26_drive_0002_sync.npz", point_map=points)
    assert (
        run_eval("kitti", tmp_path / "kitti", "--baseline", "ramp", "--predictions", tmp_path, "-o", tmp_path / "o")
        == 0
    )
    said = capsys.readouterr().out
    assert "paper-kitti-v1: 1 clips" in said and "GeometryCrafter G (published)" in said
    stored = json.loads((tmp_path / "o" / "report.json").read_text())
    assert stored["means"][tmp_path.name]["point_rel"]["mean"] < 0.002
    assert stored["published"]["MoGe"]["point_rel"] == pytest.approx(0.0851)
    wide = clips_of(protocol_of("kitti", "wide-kitti"), tmp_path / "kitti")[0].load()
    assert wide.depth.shape == (3, 352, 1216)


def test_published_figures_are_the_papers():
    assert published("paper-sintel")["GeometryCrafter D"] == {"point_rel": 0.259, "point_inlier": 0.628}
    assert published("paper-diode")["DepthCrafter"]["affine_rel"] == pytest.approx(0.126)
    assert published("rendered") == {} and published("wide-kitti") == {}


def test_the_embedded_model_is_no_worse_than_it_was(tmp_path, capsys):
    """On a dozen rendered clips; the margins are about a tenth of each figure."""
    assert run_eval("rendered", "--model", "tiny:deterministic", "--clips", 12, "--frames", 8, "-o", tmp_path) == 0
    means = json.loads((tmp_path / "report.json").read_text())["means"]
    for (method, key), most in FLOOR_OF_TINY.items():
        assert means[method][key]["mean"] < most, (method, key, means[method][key]["mean"])
    video, prior = (means[method] for method in ("tiny:deterministic", "prior of tiny"))
    assert video["point_rel"]["mean"] < 0.9 * prior["point_rel"]["mean"]
    assert video["flicker"]["mean"] < 0.7 * prior["flicker"]["mean"]


FLOOR_OF_TINY = {
    ("prior of tiny", "point_rel"): 0.225,
    ("tiny:deterministic", "point_rel"): 0.19,
    ("tiny:deterministic", "flicker"): 0.028,
}


def test_scenes_side_by_side(tmp_path, capsys):
    clip = rendered(4, 5, 48, 64)
    for name, factor in (("a", 1.0), ("b", 3.0)):
        Scene.from_depth(factor * clip.depth, clip.mask, clip.intrinsics, clip.frames).save(tmp_path / f"{name}.gc")
    scenes = [str(tmp_path / f"{n}.gc") for n in "ab"]
    assert main(["compare", *scenes, "-o", str(tmp_path / "f.png")]) == 0
    with av.open(str(tmp_path / "f.png")) as container:
        picture = next(container.decode(video=0)).to_ndarray(format="rgb24")
    rows = np.array_split(picture[40:-20], 3)
    # Both scenes are the same but for their scale, so that their rows look alike, and unlike the frames.
    low = min(len(r) for r in rows)
    alike = np.abs(rows[1][:low].astype(int) - rows[2][:low]).mean()
    assert alike < 0.5 * np.abs(rows[0][:low].astype(int) - rows[1][:low]).mean()
    assert main(["compare", *scenes, "-o", str(tmp_path / "f.png")]) == 2
    assert main(["compare", *scenes, "-o", str(tmp_path / "g.pdf"), "--frames", "0,9"]) == 2
    assert "frames 0 to 4" in capsys.readouterr().err
