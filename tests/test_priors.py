"""Priors in use: clips begin, cameras are measured on what is valid, training sees what inference sees."""

from __future__ import annotations

import io
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import flat_prior, moving_pattern
from hypothesis import given, settings
from hypothesis import strategies as st

import geometrycrafter as gc
from geometrycrafter.errors import InputError
from geometrycrafter.inference.conditioning import ClipNormalisation, ask_prior, encoder_inputs, prior_view
from geometrycrafter.networks.point_map_vae import PointMapVAE
from geometrycrafter.priors import KnownCamera, Prior, ReplayPrior, TinyPrior, as_prior
from geometrycrafter.training.config import read_train_config
from geometrycrafter.training.stages import STAGES
from geometrycrafter.weights.places import EMBEDDED

HEIGHT, WIDTH, FOCAL = 48, 64, 100.0
SIZE = (64, 64)
"""Of processing: not the video's, so that maps are reduced."""


def pinhole_points(depth: np.ndarray, focal: float = FOCAL) -> np.ndarray:
    """``[..., H, W, 3]`` of depth ``[..., H, W]``, the camera looking through the middle."""
    height, width = depth.shape[-2:]
    y, x = np.mgrid[:height, :width]
    rays = [(x - (width - 1) / 2) / focal, (y - (height - 1) / 2) / focal, np.ones_like(x)]
    return (np.stack(rays, -1) * depth[..., None]).astype(np.float32)


def wavy_depth(frames: int, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return 2 + np.sin(x / 9 + np.arange(frames)[:, None, None]) * 0.5 + y / 40


def focal_of(prior, frames: torch.Tensor, camera: KnownCamera | None = None) -> np.ndarray:
    """Focal lengths, pixels of the video, that a clip's condition stands for: ``[N, 2]``."""
    prior, (height, width) = as_prior(prior), frames.shape[-2:]
    maps, _ = prior_view(prior, prior.begin(), frames.split(1), (height, width), (height, width), camera)
    return np.array([(width - 1) / 2, (height - 1) / 2]) / maps.half_field.double().numpy()


class Spy(Prior):
    """A prior that takes down what it is asked."""

    def __init__(self, prior):
        self.prior, self.begun, self.given = prior, [], []

    @property
    def identity(self):
        return self.prior.identity

    def begin(self, first=0):
        self.begun.append(first)
        inner = self.prior.begin(first)

        def answer(frames, camera):
            points, mask = inner(frames, camera)
            self.given += [float(p[0, 0, 2]) for p in points]
            return points, mask

        return answer


def test_a_replayed_prior_begins_anew_with_every_clip():
    depth = wavy_depth(10)
    prior = Spy(ReplayPrior(pinhole_points(depth)))
    estimator = gc.load("tiny", prior=prior)
    scenes = [estimator(moving_pattern(5, HEIGHT, WIDTH), size=SIZE) for _ in range(2)]
    assert prior.given == pytest.approx([*depth[:5, 0, 0], *depth[:5, 0, 0]])
    assert np.array_equal(scenes[0].depth[:], scenes[1].depth[:])


def test_a_resumed_run_replays_the_frames_that_it_has_come_to(tmp_path):
    depth, video = wavy_depth(10), moving_pattern(10, HEIGHT, WIDTH)
    options = {"size": SIZE, "decode_chunk": 4}
    whole = gc.load("tiny", prior=ReplayPrior(pinhole_points(depth)))(video, **options)

    class StoppedError(Exception):
        pass

    def stop(stage, done, total):
        if stage == "observe" and done == 4:
            raise StoppedError

    prior = Spy(ReplayPrior(pinhole_points(depth)))
    estimator = gc.load("tiny", prior=prior)
    with pytest.raises(StoppedError):
        estimator(video, output=tmp_path / "a.gc", progress=stop, **options)
    resumed = estimator(video, output=tmp_path / "a.gc", resume=True, **options)
    assert prior.begun == [0, 4] and prior.given == pytest.approx(list(depth[:, 0, 0]))
    assert np.array_equal(resumed.depth[:], whole.depth[:])


VALID = {
    "lower half": np.s_[HEIGHT // 2 :, :],
    "lower left quarter": np.s_[HEIGHT // 2 :, : WIDTH // 2],
    "two columns": np.s_[:, 3:5],
}


@pytest.mark.parametrize("where", VALID)
@pytest.mark.parametrize("hole", ["not a number", "zero, masked", "wild, masked"])
def test_invalid_points_have_no_part_in_the_field_of_view(where, hole):
    inside = np.zeros((HEIGHT, WIDTH), bool)
    inside[VALID[where]] = True
    points = pinhole_points(wavy_depth(2))
    points[:, ~inside] = {"not a number": np.nan, "zero, masked": 0.0, "wild, masked": [7.0, -3.0, 0.5]}[hole]
    mask = None if hole == "not a number" else np.broadcast_to(inside, points.shape[:3])
    frames = torch.zeros(2, 3, HEIGHT, WIDTH)
    np.testing.assert_allclose(focal_of(ReplayPrior(points, mask), frames), FOCAL, rtol=1e-4)


class OwnSize(Prior):
    """Knows the camera, and works at a size of its own."""

    trusted_field = True
    identity = "of its own size"

    def __init__(self, size):
        self.size = size

    def frame_size(self, height, width):
        return self.size

    def begin(self, first=0):
        def answer(frames, camera):
            height, width = frames.shape[-2:]
            assert (height, width) == self.size
            points = torch.from_numpy(pinhole_points(wavy_depth(len(frames), height, width), FOCAL * width / WIDTH))
            return points, torch.ones(points.shape[:3], dtype=torch.bool)

        return answer


@pytest.mark.parametrize("focal", ["shared", "per-frame"])
@pytest.mark.parametrize("size", [(HEIGHT, WIDTH), (24, 32), (12, 16), (96, 128)])
def test_a_field_measured_at_another_size_is_carried_to_the_videos_pixels(size, focal):
    np.testing.assert_allclose(focal_of(OwnSize(size), torch.zeros(2, 3, HEIGHT, WIDTH)), FOCAL, rtol=1e-4)
    scene = gc.load("tiny", prior=OwnSize(size))(moving_pattern(2, HEIGHT, WIDTH), size=SIZE, focal=focal)
    np.testing.assert_allclose(scene.intrinsics[:, [0, 1], [0, 1]], FOCAL, rtol=1e-4)


def test_a_plain_callable_is_a_prior():
    scene = gc.load("tiny", prior=flat_prior)(moving_pattern(3, HEIGHT, WIDTH), size=SIZE)
    assert scene.depth.shape == (3, HEIGHT, WIDTH)


WRONG = {
    "nothing": lambda frames: None,
    "points alone": lambda frames: torch.zeros(len(frames), 8, 8, 3),
    "arrays": lambda frames: (np.zeros((len(frames), 8, 8, 3)), np.zeros((len(frames), 8, 8), bool)),
    "depth": lambda frames: (torch.zeros(len(frames), 8, 8), torch.zeros(len(frames), 8, 8)),
    "channels first": lambda frames: (torch.zeros(len(frames), 3, 8, 8), torch.zeros(len(frames), 8, 8)),
    "another mask": lambda frames: (torch.zeros(len(frames), 8, 8, 3), torch.zeros(len(frames), 1, 8, 8)),
    "one frame": lambda frames: (torch.zeros(1, 8, 8, 3), torch.zeros(1, 8, 8)),
    "too much": lambda frames: (torch.zeros(len(frames), 8, 8, 3), torch.zeros(len(frames), 8, 8), 3),
    "no pixels": lambda frames: (torch.zeros(len(frames), 0, 8, 3), torch.zeros(len(frames), 0, 8)),
    "meta": lambda frames: (torch.zeros(len(frames), 8, 8, 3, device="meta"), torch.zeros(len(frames), 8, 8)),
    "meta mask": lambda frames: (torch.ones(len(frames), 8, 8, 3), torch.ones(len(frames), 8, 8, device="meta")),
    "sparse": lambda frames: (torch.ones(len(frames), 8, 8, 3).to_sparse(), torch.zeros(len(frames), 8, 8)),
    "sparse mask": lambda frames: (torch.ones(len(frames), 8, 8, 3), torch.ones(len(frames), 8, 8).to_sparse()),
    "nested": lambda frames: (
        torch.nested.nested_tensor([torch.ones(8, 8, 3) for _ in frames]),
        torch.ones(len(frames), 8, 8),
    ),
    "quantized": lambda frames: (
        torch.quantize_per_tensor(torch.ones(len(frames), 8, 8, 3), 0.1, 0, torch.quint8),
        torch.ones(len(frames), 8, 8),
    ),
    "complex": lambda frames: (torch.ones(len(frames), 8, 8, 3) + 1j, torch.ones(len(frames), 8, 8)),
    "complex mask": lambda frames: (torch.ones(len(frames), 8, 8, 3), torch.ones(len(frames), 8, 8) + 1j),
    "true and false": lambda frames: (torch.ones(len(frames), 8, 8, 3) > 0, torch.ones(len(frames), 8, 8)),
}


@pytest.mark.parametrize("kind", WRONG)
def test_what_breaks_the_protocol_is_said_in_a_sentence(kind):
    with pytest.raises(InputError, match="the prior returned") as refusal:
        gc.load("tiny", prior=WRONG[kind])(moving_pattern(3, HEIGHT, WIDTH), size=SIZE)
    assert "\n" not in str(refusal.value)


def seen_of(answer, height: int = HEIGHT, width: int = WIDTH):
    """What two frames' answer becomes, at the processing size, and the encoder's inputs."""
    prior = as_prior(lambda frames: answer)
    frames = [torch.zeros(1, 3, height, width)] * 2
    maps, statistics = prior_view(prior, prior.begin(), frames, (height, width), SIZE, warn=False)
    return maps, encoder_inputs(maps, ClipNormalisation.of(statistics), *SIZE)


SAME = {
    "double precision": lambda p, m: (p.double(), m.double()),
    "channels stored first": lambda p, m: (p.permute(3, 0, 1, 2).contiguous().permute(1, 2, 3, 0), m),
    "every other of a larger map": lambda p, m: (
        torch.stack([p, p + 9], 2).flatten(1, 2)[:, ::2],
        torch.stack([m, ~m], 3).flatten(2, 3)[:, :, ::2],
    ),
    "with gradients": lambda p, m: (p.clone().requires_grad_(), m),
    "the mask not a number where it is no": lambda p, m: (p, torch.where(m, 1.0, torch.nan)),
    "the mask in whole numbers": lambda p, m: (p, m.to(torch.uint8)),
    "behind the camera where it is invalid": lambda p, m: (torch.where(m[..., None], p, -p), torch.ones_like(m)),
    "beyond single precision where it is invalid": lambda p, m: (
        torch.where(m[..., None], p.double(), 1e300),
        torch.ones_like(m),
    ),
}


@pytest.mark.parametrize("form", SAME)
def test_an_answers_form_makes_no_difference(form):
    points = torch.from_numpy(pinhole_points(wavy_depth(2)))
    mask = points[..., 0] < 0.4
    (maps, inputs), (others, theirs) = seen_of((points, mask)), seen_of(SAME[form](points, mask))
    assert torch.equal(maps.valid, others.valid) and torch.equal(maps.half_field, others.half_field)
    assert torch.equal(maps.depth, others.depth)
    for ours, other in zip(inputs, theirs, strict=True):
        assert torch.equal(ours, other)


@settings(max_examples=100, deadline=None)
@given(
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    points=st.lists(st.floats(width=32) | st.sampled_from([0.0, 1.0, -1e-7, 1e-7, 3e38, -3e38]), min_size=6),
    mask=st.lists(st.sampled_from([0.0, 1.0, float("nan"), -1.0]), min_size=1),
    wide=st.booleans(),
)
def test_whatever_numbers_a_prior_answers_the_networks_see_finite_ones(size, points, mask, wide):
    shape = (2, *size, 3)
    tensor = torch.from_numpy(np.resize(np.array(points, np.float32), shape))
    maps, inputs = seen_of((tensor, torch.from_numpy(np.resize(np.array(mask), shape[:3]))), 16, 128 if wide else 24)
    for seen in (maps.depth, maps.valid, maps.half_field, *inputs):
        assert torch.isfinite(seen).all()
    assert (maps.valid >= 0).all() and (maps.valid <= 1).all()


@pytest.mark.parametrize("share", [1, 1 / 2, 1 / 3, 0.3])
@pytest.mark.parametrize("size", [(24, 96), (96, 24), (32, 260)])
def test_an_answer_of_another_size_loses_its_part_of_the_padding(size, share):
    """A prior that answers at a share of the padded frame's size, with the frame's own coordinates as its depth."""
    height, width = size

    def answer(frames, camera):
        padded_height, padded_width = frames.shape[-2:]
        h, w = round(padded_height * share), round(padded_width * share)
        y = ((torch.arange(h) + 0.5) / h - 0.5) * padded_height  # from the frame's middle, in its pixels
        x = ((torch.arange(w) + 0.5) / w - 0.5) * padded_width
        outside = (y[:, None].abs() > height / 2 + 0.5 / share) | (x.abs() > width / 2 + 0.5 / share)
        z = torch.where(outside, 1e4, 10 + y[:, None] / height + x / width)
        points = torch.stack([z * x / FOCAL, z * y[:, None] / FOCAL, z], -1).expand(len(frames), -1, -1, -1)
        return points, torch.ones(points.shape[:3], dtype=torch.bool)

    maps = ask_prior(answer, torch.zeros(2, 3, height, width), warn=False)
    h, w = maps.depth.shape[-2:]
    assert abs(h - height * share) <= 1 and abs(w - width * share) <= 1
    y, x = (torch.arange(h) + 0.5) / h - 0.5, (torch.arange(w) + 0.5) / w - 0.5
    error = (maps.depth - (10 + y[:, None] + x)).abs().max()
    assert error <= 0.51 / (height * share) + 0.51 / (width * share)
    half = maps.half_field / torch.tensor([(w - 1) / w, (h - 1) / h])  # to the picture's edges
    np.testing.assert_allclose(half, [[width / 2 / FOCAL, height / 2 / FOCAL]] * 2, rtol=0.02)


NO_MAPS = {
    "text": np.full((2, 4, 5, 3), "a"),
    "objects": np.full((2, 4, 5, 3), None),
    "complex": np.ones((2, 4, 5, 3), complex),
    "no pixels": np.ones((2, 0, 5, 3)),
    "a number": 3.0,
    "nothing": None,
    "meta": torch.ones(2, 4, 5, 3, device="meta"),
    "sparse": torch.ones(2, 4, 5, 3).to_sparse(),
}


@pytest.mark.parametrize("kind", NO_MAPS)
def test_what_is_no_point_maps_is_not_replayed(kind):
    with pytest.raises(InputError, match="the prior's points"):
        ReplayPrior(NO_MAPS[kind])


@pytest.mark.parametrize("mask", [np.ones((3, 4, 5)), np.ones((2, 4, 6)), np.ones((4, 5)), np.full((2, 4, 5), "a")])
def test_a_mask_of_another_shape_or_kind_is_not_replayed(mask):
    with pytest.raises(InputError, match="the prior's mask"):
        ReplayPrior(np.ones((2, 4, 5, 3), np.float32), mask)


STORED = {
    "big-endian": lambda p: p.astype(">f4"),
    "backwards": lambda p: p[:, ::-1, ::-1].copy()[:, ::-1, ::-1],
    "read-only": lambda p: np.frombuffer(p.tobytes(), p.dtype).reshape(p.shape),
    "Fortran": lambda p: np.asfortranarray(p),
    "half precision": lambda p: torch.from_numpy(p).bfloat16(),
    "with gradients": lambda p: torch.from_numpy(p).requires_grad_(),
}


@pytest.mark.parametrize("form", STORED)
def test_however_arrays_are_stored_they_replay_the_same(form):
    points = np.round(np.random.default_rng(0).uniform(1, 9, (2, 4, 5, 3))).astype(np.float32)
    prior, same = ReplayPrior(STORED[form](points)), ReplayPrior(points)
    played, expected = (p.begin()(torch.zeros(2, 3, 4, 5), None) for p in (prior, same))
    assert torch.equal(played[0], expected[0]) and torch.equal(played[1], expected[1])
    assert prior.identity.startswith("point maps ")


@settings(max_examples=200, deadline=None)
@given(data=st.data(), compressed=st.booleans(), member=st.booleans())
def test_a_damaged_archive_is_said_in_a_sentence_or_reads_as_maps(data, compressed, member):
    """Flipped bits and lost ends, of the archive or of an array's own bytes in a sound one."""
    points = np.random.default_rng(0).uniform(1, 9, (2, 4, 5, 3)).astype(np.float32)
    file = io.BytesIO()
    if member:
        np.save(file, points)
    else:
        (np.savez_compressed if compressed else np.savez)(file, point_map=points, mask=points[..., 0] > 2)
    content = bytearray(file.getvalue())
    end = 128 if member else len(content)  # of an array, its header
    for place in data.draw(st.lists(st.integers(0, end - 1), max_size=8)):
        content[place] = data.draw(st.integers(0, 255))
    content = content[: data.draw(st.just(len(content)) | st.integers(0, len(content)))]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.npz"
        if member:
            with zipfile.ZipFile(path, "w") as archive:
                archive.writestr("point_map.npy", bytes(content))
        else:
            path.write_bytes(content)
        try:
            prior = ReplayPrior.load(path)
        except InputError as error:
            assert str(path) in str(error) and "\n" not in str(error)
        else:
            assert prior.points.ndim == 4 and prior.mask.shape == prior.points.shape[:3]


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK", b"\x93NUMPY"])
def test_what_is_no_archive_is_said_in_a_sentence(tmp_path, content):
    (tmp_path / "a.npz").write_bytes(content)
    for path in (tmp_path / "a.npz", tmp_path, tmp_path / "none.npz"):
        with pytest.raises(InputError, match="no npz archive of point maps"):
            ReplayPrior.load(path)


def test_training_sees_the_prior_as_inference_does(monkeypatch):
    """To the bit, with the embedded prior, which works at a size of its own."""
    seen = []
    encode = PointMapVAE.encode

    def spied(self, svd, *maps):
        seen.append([m.clone() for m in maps])
        return encode(self, svd, *maps)

    begin = TinyPrior.begin

    def holes(self, first=0):
        inner = begin(self, first)

        def answer(frames, camera):
            points, mask = inner(frames, camera)
            return points, mask & (points[..., 2] < points[..., 2].flatten(1).median(1).values[:, None, None])

        return answer

    monkeypatch.setattr(TinyPrior, "begin", holes)
    monkeypatch.setattr(PointMapVAE, "encode", spied)
    height, width = 128, 192
    video = moving_pattern(2, height, width)
    estimator = gc.load("tiny", variant="deterministic")
    assert estimator.prior.frame_size(height, width) != (height, width)
    estimator(video, size=(height, width))
    (inference,) = seen
    seen.clear()
    stage = STAGES["unet"](read_train_config("tiny-unet-deterministic", {"hub": str(EMBEDDED), "start": "hub"}))
    frames = torch.from_numpy(video).permute(0, 3, 1, 2).float() / 255
    stage.latents({"frames": frames, "depth": torch.ones(2, height, width), "half_field": torch.full((2, 2), 0.5)})
    for name, ours, theirs in zip(("disparity", "validity", "log depth", "field"), seen[0], inference, strict=True):
        assert torch.equal(ours, theirs), name
    assert (inference[1] > -1).float().mean() > 0 and ((inference[1] > -1) & (inference[1] < 1)).any()
