"""XMem and SpaTracker have the published keys and give the published figures; memory and splatting as in the papers."""

from __future__ import annotations

import pytest
import torch
from conftest import fill_by_recipe, golden, recipe
from torch import Tensor

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
