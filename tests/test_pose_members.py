"""Published networks as stages: each is saved with small random weights and loaded as the published files are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import fill_by_recipe, moving_pattern
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from geometrycrafter.errors import InputError
from geometrycrafter.networks.spatracker import SpaTracker, SpaTrackerConfig
from geometrycrafter.networks.xmem import XMem, XMemConfig
from geometrycrafter.networks.xmem_memory import MemoryConfig
from geometrycrafter.poses.members.sam import VIDEO_MODELS, SamMasks, SamVideoMasks, _picture, load_sam, load_sam_video
from geometrycrafter.poses.members.spatracker import SpaTrackerTracks, load_spatracker
from geometrycrafter.poses.members.superpoint import SuperPointKeypoints, load_superpoint
from geometrycrafter.poses.members.xmem import XMemMasks, load_xmem
from geometrycrafter.poses.protocol import spread

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def xmem_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As published: a pickled dictionary of tensors."""
    file = tmp_path_factory.mktemp("xmem") / "XMem.pth"
    torch.save(fill_by_recipe(XMem(XMemConfig(key_dim=8, value_dim=32, hidden_dim=8, width=8))).state_dict(), file)
    return file


@pytest.fixture(scope="module")
def spatracker_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As published: tensors under "model", those among them that nothing reads."""
    file = tmp_path_factory.mktemp("spatracker") / "spaT_final.pth"
    network = fill_by_recipe(SpaTracker(SpaTrackerConfig(channels=16, hidden=32, depth=1, encoder=(8, 8, 8, 8))))
    torch.save({"model": network.state_dict() | {"embedProj.bias": torch.zeros(456)}}, file)
    return file


def test_xmem_carries_a_mask_from_its_file(xmem_file, tmp_path):
    frames = moving_pattern(7, 33, 50)
    first = np.zeros((2, 33, 50), bool)
    first[0, :10, :10], first[1, 20:, 30:] = True, True
    network = load_xmem(xmem_file, CPU)
    masks = XMemMasks(network, first, MemoryConfig(every=2))(iter(frames))
    assert masks.shape == (7, 33, 50) and masks.dtype == bool
    np.testing.assert_array_equal(masks[0], first.any(0))
    save_file(network.state_dict(), tmp_path / "xmem.safetensors")
    again = XMemMasks(load_xmem(tmp_path / "xmem.safetensors", CPU), first, MemoryConfig(every=2))(frames)
    np.testing.assert_array_equal(masks, again)


def test_large_pictures_are_carried_small_and_come_back_large(xmem_file):
    first = np.zeros((960, 64 * 16), bool)
    first[200:600, 300:700] = True
    mask = XMemMasks(load_xmem(xmem_file, CPU), first)(moving_pattern(1, 960, 1024))[0]
    assert mask.shape == first.shape and (mask != first).mean() < 0.01


def test_masks_that_do_not_fit_say_so(xmem_file):
    network = load_xmem(xmem_file, CPU)
    with pytest.raises(InputError, match="empty"):
        XMemMasks(network, np.zeros((8, 8), bool))
    with pytest.raises(InputError, match="8x8 pixels, a frame 16x16"):
        XMemMasks(network, np.ones((8, 8), bool))(moving_pattern(1, 16, 16))
    with pytest.raises(InputError, match="no frames"):
        XMemMasks(network, np.ones((8, 8), bool))([])


def test_spatracker_follows_points_from_its_file(spatracker_file):
    tracker = SpaTrackerTracks(load_spatracker(spatracker_file, CPU), size=(32, 48))
    frames, depth = moving_pattern(14, 40, 64), np.full((14, 40, 64), 3.0, np.float32)
    depth[:, :5] = np.nan
    depth += np.linspace(0, 1, 64, dtype=np.float32)
    queries = np.array([[11, 20.5, 30], [0, 0, 0], [5, 63, 39], [0, 31, 12]], np.float32)
    tracks = tracker(frames, depth, np.eye(3, dtype=np.float32), queries)
    assert tracks.positions.shape == (14, 4, 2) and tracks.visible.shape == tracks.depth.shape == (14, 4)
    assert np.isfinite(tracks.positions).all() and np.isfinite(tracks.depth).all()
    for n, (frame, x, y) in enumerate(queries):
        np.testing.assert_array_equal(tracks.positions[int(frame), n], [x, y])
        assert tracks.visible[int(frame), n]
    # A still network gives back what it was asked: the way into its cells and out again loses nothing.
    still = tracker.network
    still.updateformer.flow_head[4].weight.zero_()
    still.updateformer.flow_head[4].bias.zero_()
    stayed = tracker(frames, depth * 1000, np.eye(3, dtype=np.float32), queries)
    np.testing.assert_allclose(stayed.positions[:11, 3], np.tile(queries[3, 1:], (11, 1)), atol=1e-3)
    np.testing.assert_allclose(stayed.depth[:11, 3], 1000 * (3 + 31 / 63), rtol=0.02)


def test_a_point_is_followed_alike_wherever_it_stands_in_the_list(spatracker_file):
    tracker = SpaTrackerTracks(load_spatracker(spatracker_file, CPU), size=(32, 48))
    frames, depth = moving_pattern(8, 32, 48), np.ones((8, 32, 48), np.float32)
    depth[:, 16:] = 2
    queries = np.array([[5, 20, 30], [0, 10, 10], [2, 40, 20]], np.float32)
    there = tracker(frames, depth, np.eye(3, dtype=np.float32), queries)
    back = tracker(frames, depth, np.eye(3, dtype=np.float32), queries[::-1].copy())
    np.testing.assert_allclose(there.positions, back.positions[:, ::-1], atol=1e-3)


def test_points_and_depth_that_cannot_be_followed_say_so(spatracker_file):
    tracker = SpaTrackerTracks(load_spatracker(spatracker_file, CPU), size=(32, 48))
    frames, depth = moving_pattern(3, 32, 48), np.ones((3, 32, 48), np.float32)
    for query in ([3, 0, 0], [0, 48, 0], [0, 0, -1], [0, np.nan, 0]):
        with pytest.raises(InputError, match="query"):
            tracker(frames, depth, np.eye(3, dtype=np.float32), np.array([query], np.float32))
    with pytest.raises(InputError, match="no depth"):
        tracker(frames, depth * np.nan, np.eye(3, dtype=np.float32), np.zeros((1, 3), np.float32))
    with pytest.raises(InputError, match="multiples of 4"):
        SpaTrackerTracks(tracker.network, size=(30, 48))


def small_superpoint(folder: Path) -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.SuperPointConfig(
        encoder_hidden_sizes=[8, 8, 8, 8], decoder_hidden_size=16, descriptor_decoder_dim=16
    )
    torch.manual_seed(0)
    transformers.SuperPointForKeypointDetection(config).save_pretrained(folder)


def test_superpoint_finds_points_from_its_folder(tmp_path):
    small_superpoint(tmp_path)
    detector = SuperPointKeypoints(load_superpoint(tmp_path, CPU))
    frame = moving_pattern(1, 101, 150)[0]
    points = detector(frame, None, 40)
    assert 10 < len(points) <= 40 and points.dtype == np.float32
    assert (points >= 0).all() and (points <= [149, 100]).all()
    mask = np.zeros((101, 150), bool)
    mask[:, 75:] = True
    kept = detector(frame, mask, 40)
    assert len(kept) and (kept[:, 0].round() >= 75).all()
    assert len(detector(frame, mask & False, 40)) == 0


@pytest.mark.parametrize("load", [load_xmem, load_spatracker])
def test_wrong_files_are_told_apart(load, tmp_path, xmem_file, spatracker_file):
    other = spatracker_file if load is load_xmem else xmem_file
    damaged = tmp_path / "damaged.pth"
    damaged.write_bytes(xmem_file.read_bytes()[:1000])
    code = tmp_path / "code.pth"
    torch.save({"model": print}, code)
    short = tmp_path / "short.safetensors"
    own = torch.load(xmem_file if load is load_xmem else spatracker_file, weights_only=True)
    own = dict(own.get("model", own))
    own.pop(next(k for k in own if "bias" in k))
    save_file(own, short)
    for file in (other, damaged, code, short, tmp_path / "none.pth"):
        with pytest.raises(InputError, match=file.name):
            load(file, CPU)


def test_wrong_folders_are_told_apart(tmp_path, xmem_file):
    transformers = pytest.importorskip("transformers")
    with pytest.raises(InputError, match=r"config\.json"):
        load_superpoint(tmp_path / "none", CPU)
    config = transformers.SuperPointConfig(encoder_hidden_sizes=[8, 8, 8, 8], decoder_hidden_size=16)
    folder = tmp_path / "folder"
    transformers.SuperPointForKeypointDetection(config).save_pretrained(folder)
    weights = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    with pytest.raises(InputError, match="SuperPointForKeypointDetection"):
        load_superpoint(folder, CPU)
    save_file({"some.weight": torch.zeros(1)}, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match="missing"):
        load_superpoint(folder, CPU)
    (folder / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(InputError, match="'bert', not 'superpoint'"):
        load_superpoint(folder, CPU)


@given(st.integers(0, 200), st.integers(1, 50), st.integers(0, 2**31))
def test_kept_points_are_spread_over_the_picture(total, count, seed):
    """No part of the picture gives a second point while another that has one is left out."""
    rng = np.random.default_rng(seed)
    points = rng.uniform(0, [79, 59], (total, 2)).astype(np.float32)
    scores = rng.random(total).astype(np.float32)
    kept = spread(points, scores, (60, 80), count)
    assert len(kept) == min(count, total) == len(set(kept.tolist()))
    if total:
        assert scores.argmax() in kept
    cell = max((60 * 80 / count) ** 0.5, 1)
    part = [tuple(p) for p in (points // cell).astype(int)]
    had = {part[k] for k in kept}
    if any(sum(part[k] == p for k in kept) > 1 for p in had):
        assert had == set(part)


def small_sam(folder: Path) -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.SamConfig(
        vision_config={
            "hidden_size": 16, "output_channels": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
            "image_size": 64, "global_attn_indexes": [0], "num_pos_feats": 8, "mlp_dim": 16, "initializer_range": 0.02,
        },
        prompt_encoder_config={"hidden_size": 16, "image_size": 64},
        mask_decoder_config={"hidden_size": 16, "mlp_dim": 16, "num_attention_heads": 2, "iou_head_hidden_dim": 16},
    )  # fmt: skip
    torch.manual_seed(0)
    transformers.SamModel(config).save_pretrained(folder)


def test_sam_finds_things_by_points_and_boxes_from_its_folder(tmp_path):
    small_sam(tmp_path)
    sam = SamMasks(load_sam(tmp_path, CPU))
    frame = moving_pattern(1, 40, 90)[0]
    by_points = sam(frame, points=np.array([[10, 20], [80, 5], [40, 39]], np.float32))
    by_boxes = sam(frame, boxes=np.array([[0, 0, 30, 30]], np.float32))
    assert by_points.shape == (3, 40, 90) and by_boxes.shape == (1, 40, 90) and by_points.dtype == bool
    assert by_points.any() and not by_points.all()
    for asked in ({}, {"points": np.zeros((1, 2)), "boxes": np.zeros((1, 4))}):
        with pytest.raises(InputError, match="either"):
            sam(frame, **asked)


SMALL_SAM_VIDEO = {
    "mask_decoder_config": {"hidden_size": 128, "mlp_dim": 32, "num_attention_heads": 2, "iou_head_hidden_dim": 32},
    "memory_attention_hidden_size": 128,
    "memory_attention_num_layers": 1,
    "memory_attention_feed_forward_hidden_size": 32,
    "memory_attention_rope_feat_sizes": [4, 4],
    "memory_encoder_hidden_size": 128,
    "mask_downsampler_embed_dim": 128,
    "memory_fuser_embed_dim": 128,
    "memory_fuser_intermediate_dim": 32,
    "memory_fuser_num_layers": 1,
}
HIERA = {
    "model_type": "sam2_hiera_det_model",
    "hidden_size": 8,
    "image_size": [64, 64],
    "blocks_per_stage": [1, 1, 1, 1],
    "embed_dim_per_stage": [8, 16, 32, 64],
    "num_attention_heads_per_stage": [1, 1, 2, 2],
    "window_size_per_stage": [8, 4, 4, 4],
    "global_attention_blocks": [],
    "window_positional_embedding_background_size": [4, 4],
}
VIT = {
    "model_type": "sam3_vit_model",
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 56,
    "pretrain_image_size": 56,
    "window_size": 4,
    "global_attn_indexes": [0],
}
FPN = {"fpn_hidden_size": 128, "backbone_feature_sizes": [[16, 16], [8, 8], [4, 4]]}


def small_sam_video(kind: str, folder: Path):
    """Random weights, told that the things are always in sight (else nothing is masked)."""
    transformers = pytest.importorskip("transformers")
    name = {"sam2_video": "Sam2Video", "sam3_tracker_video": "Sam3TrackerVideo"}[kind]
    vision = (
        {"model_type": "sam2_vision_model", "backbone_config": HIERA, "backbone_channel_list": [64, 32, 16, 8]}
        if kind == "sam2_video"
        else {"model_type": "sam3_vision_model", "backbone_config": VIT}
    )
    side = 64 if kind == "sam2_video" else 56
    config = getattr(transformers, f"{name}Config")(
        vision_config=vision | FPN,
        prompt_encoder_config={"hidden_size": 128, "image_size": side},
        image_size=side,
        **SMALL_SAM_VIDEO,
    )
    torch.manual_seed(0)
    model = getattr(transformers, f"{name}Model")(config)
    model.mask_decoder.pred_obj_score_head.proj_out.bias.data.fill_(10)
    model.save_pretrained(folder)
    return side, getattr(transformers, f"{name}InferenceSession")


@pytest.mark.parametrize("kind", ["sam2_video", "sam3_tracker_video"])
def test_sam_carries_masks_as_its_own_library_does_with_the_whole_video_at_hand(kind, tmp_path):
    """Frame by frame, with the past forgotten, against ``propagate_in_video_iterator``."""
    side, session_kind = small_sam_video(kind, tmp_path)
    network = load_sam_video(tmp_path, CPU)
    frames = moving_pattern(19, side, side)
    first = np.zeros((2, side, side), bool)
    first[0, :20, :20], first[1, 25:, 30:] = True, True
    masks = SamVideoMasks(network, first)(iter(frames))
    mean, deviation = torch.tensor(VIDEO_MODELS[kind][1])[..., None, None]
    video = (torch.from_numpy(frames).movedim(-1, 1).float() / 255 - mean) / deviation
    session = session_kind(video=video, video_height=side, video_width=side, dtype=torch.float32)
    for name, mask in enumerate(first, start=1):
        session.add_mask_inputs(session.obj_id_to_idx(name), 0, torch.from_numpy(mask)[None, None].float())
    session.obj_with_new_inputs = [1, 2]
    with torch.no_grad():
        network(session, frame_idx=0)
        for out in network.propagate_in_video_iterator(session, start_frame_idx=0):
            wanted = torch.nn.functional.interpolate(out.pred_masks, (side, side), mode="bilinear")[:, 0] > 0
            np.testing.assert_array_equal(masks[out.frame_idx], wanted.any(0).numpy())
    assert 0 < masks[-1].mean() < 1


@pytest.mark.parametrize("kind", ["sam2_video", "sam3_tracker_video"])
def test_sam_takes_points_and_boxes_as_its_own_library_does(kind, tmp_path):
    """Against the published processor, on frames of another shape than the network's."""
    transformers = pytest.importorskip("transformers")
    side, session_kind = small_sam_video(kind, tmp_path)
    network = load_sam_video(tmp_path, CPU)
    frames = moving_pattern(4, 40, 90)
    places = [[20.0, 30.0], [50.0, 5.0, 88.0, 35.0]]
    processor = object.__new__(transformers.Sam2VideoProcessor)  # its parts for pictures want more than is installed
    processor.target_size, processor.point_pad_value = side, -10
    for place in places:
        masks = SamVideoMasks(network, at=[place])(frames)
        video = torch.stack([_picture(f, (side, side), VIDEO_MODELS[kind][1], CPU)[0] for f in frames])
        session = session_kind(video=video, video_height=40, video_width=90, dtype=torch.float32)
        named = (
            {"input_points": [[[place]]], "input_labels": [[[1]]]} if len(place) == 2 else {"input_boxes": [[place]]}
        )
        processor.process_new_points_or_boxes_for_video_frame(session, 0, [1], original_size=(40, 90), **named)
        with torch.no_grad():
            network(session, frame_idx=0)
            for out in network.propagate_in_video_iterator(session, start_frame_idx=0):
                wanted = torch.nn.functional.interpolate(out.pred_masks, (40, 90), mode="bilinear")[0, 0] > 0
                np.testing.assert_array_equal(masks[out.frame_idx], wanted.numpy())
    assert 0 < masks.mean() < 1


def test_places_that_are_none_say_so(tmp_path):
    small_sam_video("sam2_video", tmp_path)
    network = load_sam_video(tmp_path, CPU)
    for place in ([1.0], [5.0, 5, 2, 9], [float("nan"), 2]):
        with pytest.raises(InputError, match="point x,y or a box"):
            SamVideoMasks(network, at=[place])
    with pytest.raises(InputError, match="outside of frames of 30x20"):
        SamVideoMasks(network, at=[[31.0, 5]])(moving_pattern(1, 20, 30))
    with pytest.raises(InputError, match="either"):
        SamVideoMasks(network)


def test_folders_of_no_sam_for_videos_say_so(tmp_path):
    with pytest.raises(InputError, match=r"config\.json"):
        load_sam_video(tmp_path, CPU)
    (tmp_path / "config.json").write_text('{"model_type": "sam"}')
    with pytest.raises(InputError, match="'sam'; give one of sam2_video"):
        load_sam_video(tmp_path, CPU)
