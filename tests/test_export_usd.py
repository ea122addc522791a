"""USD read back by its own library: points and colours at their times, and a camera that sees them where they were."""

from __future__ import annotations

import numpy as np
import pytest
from pxr import Gf, Usd, UsdGeom
from test_export_worlds import FRAMES, HEIGHT, NORMAL, OFFSET, WIDTH, K, painted, plane

import geometrycrafter as gc
from geometrycrafter.export import export


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    return Usd.Stage.Open(str(export(plane(moving=False), "usd", tmp_path_factory.mktemp("u") / "a.usd")))


def points_at(stage, time):
    """Points in the stage's own axes, and their colours."""
    prim = UsdGeom.Points(stage.GetPrimAtPath("/Scene/Points"))
    turn = np.array(UsdGeom.Imageable(prim).ComputeLocalToWorldTransform(time))
    at = np.array(prim.GetPointsAttr().Get(time), np.float64)
    colour = np.array(UsdGeom.PrimvarsAPI(prim).GetPrimvar("displayColor").Get(time), np.float64)
    return np.concatenate([at, np.ones((len(at), 1))], 1) @ turn, colour


def test_points_are_on_the_surface_in_its_colours_and_the_stage_is_y_up_in_its_unit(stage):
    assert UsdGeom.GetStageUpAxis(stage) == "Y" and UsdGeom.GetStageMetersPerUnit(stage) == 1
    assert stage.GetTimeCodesPerSecond() == 10 and stage.GetEndTimeCode() == pytest.approx(FRAMES - 1)
    assert stage.GetDefaultPrim().GetCustomDataByKey("unit") == "the scene's own unit"
    prim = UsdGeom.Points(stage.GetPrimAtPath("/Scene/Points"))
    np.testing.assert_allclose(prim.GetPointsAttr().GetTimeSamples(), np.arange(FRAMES), atol=1e-6)
    for t in range(FRAMES):
        at, light = points_at(stage, t)
        assert len(at) == (HEIGHT - 3) * WIDTH
        own = at[:, :3] * [1, -1, -1]
        assert np.abs(own @ NORMAL - OFFSET).max() < 1e-3
        level = np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055) * 255
        assert np.abs(level - painted(own)).max() < 1.5


def test_the_camera_sees_each_point_in_its_pixel(stage):
    camera = UsdGeom.Camera(stage.GetPrimAtPath("/Scene/Camera"))
    rows, columns = np.mgrid[3:HEIGHT, :WIDTH].reshape(2, -1)
    for t in range(FRAMES):
        frustum = camera.GetCamera(float(t)).frustum
        project = np.array(frustum.ComputeViewMatrix()) @ np.array(frustum.ComputeProjectionMatrix())
        image = points_at(stage, t)[0] @ project
        x, y = (image[:, :2] / image[:, 3:]).T
        np.testing.assert_allclose((x + 1) / 2 * WIDTH, columns + 0.5, atol=2e-2)
        np.testing.assert_allclose((1 - y) / 2 * HEIGHT, rows + 0.5, atol=2e-2)
    assert camera.GetFocalLengthAttr().Get(0) / camera.GetHorizontalApertureAttr().Get(0) == pytest.approx(
        K[0, 0] / WIDTH, rel=1e-5
    )
    assert Gf.IsClose(camera.GetClippingRangeAttr().Get()[0], 0.01, 1e-6)


def test_points_are_as_wide_as_closes_the_picture(stage):
    prim = UsdGeom.Points(stage.GetPrimAtPath("/Scene/Points"))
    assert prim.GetWidthsInterpolation() == "vertex"
    camera = UsdGeom.Camera(stage.GetPrimAtPath("/Scene/Camera"))
    for t in range(FRAMES):
        view = np.array(camera.GetCamera(float(t)).frustum.ComputeViewMatrix())
        depth = -(points_at(stage, t)[0] @ view)[:, 2]
        pixels = np.array(prim.GetWidthsAttr().Get(t)) * K[0, 0] / depth
        np.testing.assert_allclose(pixels, 2**0.5, rtol=1e-4)


def test_each_suffix_is_one_that_usd_opens_and_frames_are_thinned_out_on_request(tmp_path):
    stage = Usd.Stage.Open(str(export(plane(moving=False), "usd", tmp_path / "b.usdc", step=4)))
    assert len(points_at(stage, 2)[0]) == len(range(0, HEIGHT, 4)[1:]) * len(range(0, WIDTH, 4))
    with pytest.raises(gc.InputError, match=r"\.usd"):
        export(plane(), "usd", tmp_path / "c.obj")
    assert [p.name for p in tmp_path.iterdir()] == ["b.usdc"]


def test_a_failure_leaves_what_was_there(tmp_path, monkeypatch):
    (tmp_path / "a.usd").write_text("mine")
    scene = plane()
    monkeypatch.setattr(type(scene.points), "__getitem__", lambda self, t: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        export(scene, "usd", tmp_path / "a.usd")
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("a.usd", "mine")]
