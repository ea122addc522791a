"""Under torch.compile a network is one graph, made once and the same function: nothing asks what a graph can't."""

from __future__ import annotations

import shutil

import pytest
import torch
from torch._dynamo.utils import counters

from geometrycrafter.benchmark.components import compile_networks, components_of
from geometrycrafter.benchmark.model import MeasuredModel
from geometrycrafter.benchmark.options import BenchmarkOptions
from geometrycrafter.networks.moge import MoGe, MoGeConfig


@pytest.fixture(scope="module")
def sizes(hub, tmp_path_factory):
    """The golden hub's sizes, with SVD's temporal decoder; weights are drawn."""
    root = tmp_path_factory.mktemp("sizes") / "hub"
    shutil.copytree(hub, root, ignore=shutil.ignore_patterns("*.safetensors"))
    return root


def tensors_of(result):
    return [result] if isinstance(result, torch.Tensor) else list(result)


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        ("encoder", "bfloat16"),  # of two types: the residual encoder stays in float32
        ("unet", "float32"),
        ("decoder", "float32"),
        ("light decoder", "float32"),
        ("image encoder", "bfloat16"),
    ],
)
def test_a_network_is_one_graph_that_a_second_call_finds_again(sizes, name, dtype):
    options = BenchmarkOptions(
        model=str(sizes), variant="diffusion", random=True, size=(64, 128), frames=3, dtype=dtype, components=(name,)
    )
    work = components_of(MeasuredModel.of(options), options)[name]()
    wanted = tensors_of(work())
    torch.compiler.reset()
    counters.clear()
    try:
        compile_networks(work, backend="eager")
        work()
        with torch._dynamo.config.patch(error_on_recompile=True):
            got = tensors_of(work())
        assert not counters["graph_break"]
        assert counters["stats"]["unique_graphs"] == len(work.compiled)
    finally:
        torch.compiler.reset()
    tolerance = 2e-4 if dtype == "float32" else 0.05
    for a, b in zip(wanted, got, strict=True):
        assert a.abs().mean() > 1e-3
        assert (a - b).abs().max() < tolerance * max(1.0, float(a.abs().max()))


def test_a_prior_is_one_graph_for_its_backbone_and_one_for_its_head():
    torch.manual_seed(0)
    sizes = MoGeConfig(encoder="dinov2_vits14", dim_proj=64, dim_upsample=(64, 32, 32))
    small = MoGe(sizes).eval().requires_grad_(False)
    images = torch.rand(1, 3, 112, 168)
    wanted = small(images, 96)["points"]
    torch.compiler.reset()
    counters.clear()
    try:
        small.backbone.compile(dynamic=False, backend="eager")
        small.head.compile(dynamic=False, backend="eager")
        small(images, 96)
        with torch._dynamo.config.patch(error_on_recompile=True):
            got = small(images, 96)["points"]
        assert not counters["graph_break"]
        assert counters["stats"]["unique_graphs"] == 2
    finally:
        torch.compiler.reset()
    torch.testing.assert_close(got, wanted, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("told", "layout"),
    [
        ({}, "contiguous"),
        ({"compiled": True}, "contiguous"),
        ({"device": "cuda"}, "contiguous"),
        ({"device": "cuda", "compiled": True}, "channels-last"),
        ({"device": "cuda", "compiled": True, "layout": "contiguous"}, "contiguous"),
        ({"device": "cuda", "layout": "channels-last"}, "channels-last"),
    ],
)
def test_channels_come_last_where_a_gpu_gains_by_it(told, layout):
    assert BenchmarkOptions(**told).weights_layout == layout
