"""XMem and SpaTracker have the published keys and give the published figures; memory and splatting as in the papers."""

from __future__ import annotations

import pytest
import torch
from conftest import fill_by_recipe, golden, recipe
from torch import Tensor

from geometrycrafter.networks.spatracker import UNUSED, SpaTracker, SpaTrackerConfig
from geometrycrafter.networks.spatracker_transformer import motion_embedding
from geometrycrafter.networks.triplane import splat
from geometrycrafter.networks.xmem import Key, XMem, XMemConfig, aggregate
from geometrycrafter.networks.xmem_memory import Memory, MemoryConfig, Propagation

SMALL = XMemConfig(key_dim=8, value_dim=32, hidden_dim=8, width=8)


def normalised(frames: Tensor) -> Tensor:
    """uint8 ``[T, 3, H, W]`` as ImageNet is."""
    mean, std = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])[..., None, None]
    return (frames.float() / 255 - mean) / std


def keys_of(network: torch.nn.Module) -> dict[str, list[int]]:
    return {k: list(v.shape) for k, v in network.state_dict().items()}


def test_xmem_has_the_published_keys_and_shapes(manifest):
    with torch.device("meta"):
        network = XMem()
    assert keys_of(network) == manifest("xmem")
    assert XMemConfig.of(network.state_dict()) == XMemConfig()
    single = XMemConfig(single_object=True, hidden_dim=32)
    with torch.device("meta"):
        assert XMemConfig.of(XMem(single).state_dict()) == single


def test_xmem_gives_the_published_masks_and_memory():
    g = golden("poses/xmem.safetensors")
    network = fill_by_recipe(XMem())
    for key, value in network.state_dict().items():
        if key.endswith("running_mean"):
            value.copy_(recipe(key, value.shape) - 1)
    network.decoder.pred.weight.mul_(0.05)
    network.decoder.pred.bias.zero_()
    frames = normalised(g["frames"])
    key, features = network.encode_key(torch.nn.functional.pad(frames[:1], (0, 4, 0, 4)))
    for name in Key._fields:
        torch.testing.assert_close(getattr(key, name), g[name], atol=2e-5, rtol=1e-5)
    for name in features._fields:
        torch.testing.assert_close(getattr(features, name).mean(1), g[f"{name}_mean"], atol=1e-5, rtol=1e-5)
    kept = MemoryConfig(every=2, max_frames=4, min_frames=2, prototypes=16, max_long_term=40, top_k=30)
    propagation = Propagation(network, kept)
    for t, frame in enumerate(frames):
        found = propagation.step(frame, g["first_mask"] if t == 0 else None, end=t == len(frames) - 1)
        if f"prob_{t:02d}" in g:
            torch.testing.assert_close(found, g[f"prob_{t:02d}"], atol=1e-4, rtol=0)
        assert propagation.memory.sizes == tuple(g["memory_sizes"][t].tolist()), f"frame {t}"


def test_objects_are_told_apart_from_the_rest_of_the_picture():
    masks = torch.tensor([[[0.0, 1.0, 0.5]], [[0.0, 0.0, 0.5]]])
    found = aggregate(masks)
    assert found.argmax(0).tolist() == [[0, 1, 0]] or found.argmax(0).tolist() == [[0, 1, 1]]
    torch.testing.assert_close(found.sum(0), torch.ones(1, 3))
    # Closed form: odds of each alone, normalised.
    odds = torch.tensor([0.25 / 0.75, 1.0, 1.0])
    torch.testing.assert_close(found[:, 0, 2], odds / odds.sum())


def test_memory_answers_with_what_was_stored_where_its_key_is_met_again():
    """A query equal to one stored key, far from all others, reads that element's value and only it is used."""
    memory = Memory(MemoryConfig(top_k=3))
    key = torch.eye(4).reshape(1, 4, 2, 2) * 30
    ones = torch.ones(1, 1, 2, 2)
    value = torch.arange(8.0).reshape(2, 1, 2, 2)
    memory.remember(Key(key, ones, torch.ones(1, 4, 2, 2)), value)
    asked = key.flatten(2).flip(-1).reshape(key.shape)
    found = memory.match(Key(asked, ones, torch.ones(1, 4, 2, 2)))
    torch.testing.assert_close(found, value.flatten(2).flip(-1).reshape(value.shape))
    torch.testing.assert_close(memory.working.usage, torch.ones(4), atol=1e-6, rtol=0)


def test_memory_stays_bounded_however_long_the_video():
    config = MemoryConfig(every=1, max_frames=3, min_frames=2, prototypes=5, max_long_term=12, top_k=4)
    memory = Memory(config)
    torch.manual_seed(0)
    for _ in range(60):
        key = Key(torch.randn(1, 4, 2, 3), 1 + torch.rand(1, 1, 2, 3), torch.rand(1, 4, 2, 3))
        if memory.sizes[0]:
            assert torch.isfinite(memory.match(key)).all()
        memory.remember(key, torch.randn(2, 3, 2, 3))
        working, long_term = memory.sizes
        assert working < config.max_frames * 6 and long_term <= config.max_long_term
    assert memory.sizes[1] > 0


@pytest.mark.parametrize(
    ("size", "objects", "single"), [((17, 31), 1, True), ((32, 16), 3, False), ((20, 40), 1, False)]
)
def test_masks_keep_the_pictures_size_whatever_it_is(size, objects, single):
    config = XMemConfig(key_dim=8, value_dim=32, hidden_dim=8, width=8, single_object=single)
    propagation = Propagation(fill_by_recipe(XMem(config)), MemoryConfig(every=2))
    torch.manual_seed(0)
    masks = (torch.rand(objects, *size) > 0.5).float()
    first = propagation.step(torch.randn(3, *size), masks)
    for end in (False, True):
        found = propagation.step(torch.randn(3, *size), end=end)
        assert found.shape == first.shape == (objects + 1, *size)
        torch.testing.assert_close(found.sum(0), torch.ones(size))


def test_masks_given_again_are_taken_and_their_number_stays():
    propagation = Propagation(fill_by_recipe(XMem(SMALL)))
    frame = torch.randn(3, 32, 32, generator=torch.Generator().manual_seed(0))
    with pytest.raises(ValueError, match="first frame"):
        propagation.step(frame)
    propagation.step(frame, torch.zeros(1, 32, 32))
    again = torch.zeros(1, 32, 32)
    again[:, :16] = 1
    assert (propagation.step(frame, again)[1] > 0.5).equal(again[0] > 0.5)
    assert propagation.memory.sizes == (8, 0)
    with pytest.raises(ValueError, match="2 masks"):
        propagation.step(frame, torch.zeros(2, 32, 32))


def filled_spatracker() -> SpaTracker:
    """The golden file's weights."""
    network = fill_by_recipe(SpaTracker())
    for tensor in (network.updateformer.flow_head[4].weight, network.updateformer.flow_head[4].bias):
        tensor[:3] *= 0.1
    for updater in (network.ffeat_updater, network.ffeatyz_updater, network.ffeatxz_updater):
        updater[0].weight.mul_(0.1)
        updater[0].bias.mul_(0.1)
    network.zeroMLPflow.weight.mul_(0.002)
    return network


def test_spatracker_has_the_published_keys_and_shapes(manifest):
    with torch.device("meta"):
        network = SpaTracker()
    published = manifest("spatracker")
    assert keys_of(network) == {k: v for k, v in published.items() if not k.startswith(UNUSED)}
    assert all(any(k.startswith(name) for k in published) for name in UNUSED)
    assert SpaTrackerConfig.of(network.state_dict()) == SpaTrackerConfig()


def test_spatracker_gives_the_published_tracks():
    g = golden("poses/spatracker.safetensors")
    torch.testing.assert_close(motion_embedding(g["flow"]), g["flow_embedding"], atol=1e-4, rtol=0)
    given = g["queries"][0]
    # The order of points that begin in one frame is that of the recorded run, whose sort didn't keep it.
    recorded = torch.tensor([23, 2, 20, 19, 5, 15, 0, 12, 17, 14, 10, 4, 11, 9, 8, 7, 6, 18, 3, 21, 1, 13, 16, 22])
    places = given[:, 0].argsort(stable=True)
    queries = torch.empty_like(given)
    queries[places] = given[recorded]
    network = filled_spatracker()
    video = g["video"].float()
    windows = list(network.windows(video, g["depth"], queries))
    assert len(windows) == 3
    for index, window in enumerate(windows):
        for name, plane in zip(("xy", "yz", "xz"), window.planes, strict=True):
            torch.testing.assert_close(plane.mean(1), g[f"window{index}_fmap_{name}_mean"], atol=1e-4, rtol=1e-4)
        for iteration, points in enumerate(window.iterations):
            wanted = g[f"window{index}_coords_iter{iteration}"]
            torch.testing.assert_close(points, wanted, atol=2e-3, rtol=0)
        torch.testing.assert_close(window.visibility, g[f"window{index}_vis_logit"], atol=1e-3, rtol=0)
    network.windows = lambda *_: iter(windows)
    tracks, visibility = network(video, g["depth"], queries)
    torch.testing.assert_close(tracks[:, places], g["tracks"][:, recorded], atol=2e-3, rtol=0)
    torch.testing.assert_close(visibility[:, places], g["visibility"][:, recorded], atol=1e-3, rtol=0)


def test_splatted_features_keep_their_place_and_mix_by_nearness():
    """A plane moved by whole pixels is the same plane; between pixels, one weight each; what leaves is lost."""
    features = torch.rand(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    y, x = torch.meshgrid(torch.arange(4.0), torch.arange(5.0), indexing="ij")
    moved = splat(features, torch.stack([x + 1, y + 2]).expand(2, -1, -1, -1), (6, 8))
    torch.testing.assert_close(moved[..., 2:, 1:6], features, atol=1e-6, rtol=0)
    assert moved[..., :2, :].abs().max() == 0 and moved[..., 6:].abs().max() == 0
    two = torch.tensor([[[[2.0, 5.0]]]])
    met = splat(two, torch.tensor([[[[0.25, 1.0]], [[0.0, 0.0]]]]), (1, 3))
    torch.testing.assert_close(met, torch.tensor([[[[2.0, (0.25 * 2 + 5) / 1.25, 0.0]]]]))
    assert splat(features, torch.stack([x - 9, y]).expand(2, -1, -1, -1), (4, 5)).abs().max() == 0


def test_short_clips_flat_depth_and_narrow_pictures_are_tracked():
    config = SpaTrackerConfig(channels=16, hidden=32, depth=1, encoder=(8, 8, 8, 8), iterations=2)
    network = fill_by_recipe(SpaTracker(config))
    assert SpaTrackerConfig.of(network.state_dict()) == SpaTrackerConfig(16, 32, 1, encoder=(8, 8, 8, 8))
    for frames, size in ((1, (32, 64)), (2, (64, 32)), (13, (32, 32))):
        queries = torch.tensor([[0.0, 3, 4, 2], [frames - 1, 20, 25, 2]])
        video = torch.rand(frames, 3, *size) * 255
        tracks, visibility = network(video, torch.full((frames, 1, *size), 2.0), queries)
        assert tracks.shape == (frames, 2, 3) and torch.isfinite(tracks).all()
        assert ((visibility > 0) & (visibility < 1)).all()
