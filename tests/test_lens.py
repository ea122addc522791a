"""Lenses: their formulas against OpenCV's, rays against the pixels that they end in, and files as others write them."""

from __future__ import annotations

import json
import math
import struct

import cv2
import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from geometrycrafter.errors import InputError
from geometrycrafter.geometry.lens import Lens, parameters_of
from geometrycrafter.geometry.lens_files import read_lens

OPENCV = Lens("OPENCV", (520.0, 510, 319.5, 241, -0.28, 0.07, 0.0012, -0.0008), 480, 640)
FISHEYE = Lens("OPENCV_FISHEYE", (280.0, 281, 320, 238, 0.02, -0.006, 0.001, -0.0002), 480, 640)
small, smaller = st.floats(-0.4, 0.4), st.floats(-0.02, 0.02)


@st.composite
def lenses(draw: st.DrawFn) -> Lens:
    model = draw(st.sampled_from(sorted(LAYOUTS)))
    kinds = {"k1": small, "k2": st.floats(-0.1, 0.1), "p1": smaller, "p2": smaller}
    values = []
    for name in parameters_of(model):
        focal = name.startswith("f")
        centre = st.floats(200, 440)
        values.append(draw(st.floats(150, 3000) if focal else centre if name[0] == "c" else kinds.get(name, smaller)))
    return Lens(model, tuple(values), 480, 640)


LAYOUTS = {
    "SIMPLE_PINHOLE": (),
    "PINHOLE": (),
    "SIMPLE_RADIAL": ("k1",),
    "RADIAL": ("k1", "k2"),
    "OPENCV": ("k1", "k2", "p1", "p2"),
    "FULL_OPENCV": ("k1", "k2", "p1", "p2", "k3", "k4", "k5", "k6"),
    "OPENCV_FISHEYE": ("k1", "k2", "k3", "k4"),
    "SIMPLE_RADIAL_FISHEYE": ("k1",),
    "RADIAL_FISHEYE": ("k1", "k2"),
}


def of_opencv(lens: Lens, points: np.ndarray) -> np.ndarray:
    """Pixels as OpenCV has them; the parameters put into its own order by hand."""
    given = dict(zip(parameters_of(lens.model), lens.parameters))
    fx, fy = given.get("fx", given.get("f")), given.get("fy", given.get("f"))
    k = np.array([[fx, 0, given["cx"]], [0, fy, given["cy"]], [0, 0, 1.0]])
    nothing = np.zeros((1, 3))
    if "FISHEYE" in lens.model:
        bent = np.array([given.get(n, 0.0) for n in ("k1", "k2", "k3", "k4")])
        return cv2.fisheye.projectPoints(points[:, None], nothing, nothing, k, bent)[0][:, 0]
    bent = np.array([given.get(n, 0.0) for n in ("k1", "k2", "p1", "p2", "k3", "k4", "k5", "k6")])
    return cv2.projectPoints(points[:, None], nothing, nothing, k, bent)[0][:, 0]


@given(lenses(), st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=40)
def test_points_land_where_opencv_has_them(lens: Lens, seed: int) -> None:
    rng = np.random.default_rng(seed)
    points = np.concatenate([rng.uniform(-1.2, 1.2, (200, 2)), np.ones((200, 1))], 1) * rng.uniform(0.1, 50, (200, 1))
    pixels, _ = lens.project(torch.from_numpy(points))
    np.testing.assert_allclose(pixels.numpy(), of_opencv(lens, points), rtol=1e-9, atol=1e-7)


@given(lenses(), st.integers(0, 2**32 - 1))
@example(Lens("OPENCV", (2197.0, 150.0, 200.0, 200.0, 0.34375, 0.0625, 0.0, 0.0), 480, 640), 190)
@settings(deadline=None, max_examples=40)
def test_a_ray_that_is_seen_is_found_again_from_its_pixel(lens: Lens, seed: int) -> None:
    """Whichever the lens: what lies before its fold comes back, and nothing else is claimed to."""
    generator = torch.Generator().manual_seed(seed)
    angle = torch.rand(400, generator=generator, dtype=torch.float64) * (2.2 if lens.fisheye else 1.4)
    around = torch.rand(400, generator=generator, dtype=torch.float64) * 2 * math.pi
    rays = torch.stack([angle.sin() * around.cos(), angle.sin() * around.sin(), angle.cos()], -1)
    pixels, seen = lens.project(3 * rays)
    again, found = lens.unproject(pixels)
    inner = seen & lens.project(torch.stack([*(1.02 * rays[:, :2]).unbind(-1), rays[:, 2]], -1))[1]
    assert found[inner].all()
    landed, still = lens.project(again[found])
    far = (pixels[found] - torch.tensor(lens.centre)).norm(dim=-1)  # up to tens of thousands of pixels, as rounded
    assert still.all() and ((landed - pixels[found]).norm(dim=-1) < 1e-9 * (far / 1000).clamp_min(1)).all()
    away = (again - rays).norm(dim=-1)
    assert (away[inner] < 1e-6).all()


@given(lenses())
@settings(deadline=None, max_examples=40)
def test_every_pixel_has_the_one_ray_that_ends_in_it_or_none(lens: Lens) -> None:
    """Rays of a whole picture end in their pixels, and turn with them: the lens is no mirror anywhere."""
    y, x = torch.meshgrid(torch.arange(0.0, 480, 20), torch.arange(0.0, 640, 20), indexing="ij")
    pixels = torch.stack([x, y], -1).double()
    rays, seen = lens.unproject(pixels)
    assert ((lens.project(rays)[0] - pixels)[seen].abs() < 1e-9).all()
    right, down = rays[:-1, 1:] - rays[:-1, :-1], rays[1:, :-1] - rays[:-1, :-1]
    turn = (torch.linalg.cross(right, down) * rays[:-1, :-1]).sum(-1)
    together = seen[:-1, :-1] & seen[:-1, 1:] & seen[1:, :-1]
    assert (turn[together] > 0).all()


def test_rays_are_those_of_opencv() -> None:
    rays, seen = OPENCV.rays()
    k, bent = OPENCV.intrinsics.numpy(), np.array(OPENCV.parameters[4:])
    y, x = np.mgrid[:480, :640].astype(np.float64)
    pixels = np.stack([x, y], -1).reshape(-1, 1, 2)
    stop = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 200, 1e-14)
    theirs = cv2.undistortPoints(pixels, k, bent, criteria=stop).reshape(480, 640, 2)
    assert seen.all()
    np.testing.assert_allclose((rays[..., :2] / rays[..., 2:]).numpy(), theirs, atol=1e-9)


def test_a_fold_ends_what_a_lens_sees() -> None:
    """x (1 - x^2 / 3) is largest at x = 1, where it is 2 / 3."""
    lens = Lens("SIMPLE_RADIAL", (300.0, 320, 240, -1 / 3))
    inside, outside = 320 + 300 * (2 / 3 - 1e-3), 320 + 300 * (2 / 3 + 1e-3)
    _, seen = lens.unproject(torch.tensor([[inside, 240], [outside, 240]]))
    assert seen.tolist() == [True, False]
    _, seen = lens.project(torch.tensor([[0.999, 0, 1], [1.001, 0, 1], [0, 0, -1], [math.nan, 0, 1]]))
    assert seen.tolist() == [True, False, False, False]


def test_a_fisheye_lens_sees_behind_itself() -> None:
    lens = Lens("OPENCV_FISHEYE", (200.0, 200, 320, 240, 0, 0, 0, 0))
    ray, seen = lens.unproject(torch.tensor([320 + 200 * 1.8, 240]))
    assert seen and torch.allclose(ray, torch.tensor([math.sin(1.8), 0, math.cos(1.8)], dtype=torch.float64))
    assert lens.project(ray)[0].tolist() == pytest.approx([320 + 200 * 1.8, 240])


def test_rays_are_those_of_colmap() -> None:
    pycolmap = pytest.importorskip("pycolmap")
    for model, bent in LAYOUTS.items():
        values = [0.01 * (i + 1) * (-1) ** i for i in range(len(bent))]
        own = tuple([400.0] * (len(parameters_of(model)) - len(bent) - 2) + [320, 240, *values])
        centre = own.index(320)
        theirs = [v + 0.5 if i in (centre, centre + 1) else v for i, v in enumerate(own)]
        camera = pycolmap.Camera(model=model, width=640, height=480, params=theirs)
        points = np.random.default_rng(0).uniform([-1, -0.8, 2], [1, 0.8, 3], (50, 3))
        pixels = camera.img_from_cam(points) - 0.5
        np.testing.assert_allclose(Lens(model, own).project(torch.from_numpy(points))[0].numpy(), pixels, atol=1e-9)


# Files


def colmap_text(tmp_path, *rows: str):
    path = tmp_path / "cameras.txt"
    path.write_text(
        "# Camera list with one line of data per camera:\n#   CAMERA_ID, MODEL, ...\n" + "\n".join(rows) + "\n"
    )
    return path


def colmap_binary(*cameras: tuple[int, int, int, list[float]]) -> bytes:
    data = struct.pack("<Q", len(cameras))
    for i, (model, width, height, values) in enumerate(cameras):
        data += struct.pack("<iiQQ", i + 1, model, width, height) + struct.pack(f"<{len(values)}d", *values)
    return data


NUMBERED = {
    "SIMPLE_PINHOLE": 0,
    "PINHOLE": 1,
    "SIMPLE_RADIAL": 2,
    "RADIAL": 3,
    "OPENCV": 4,
    "OPENCV_FISHEYE": 5,
    "FULL_OPENCV": 6,
    "SIMPLE_RADIAL_FISHEYE": 8,
    "RADIAL_FISHEYE": 9,
}


@pytest.mark.parametrize("model", NUMBERED)
def test_colmap_counts_pixels_from_their_corners(tmp_path, model: str) -> None:
    names = parameters_of(model)
    values = [400.0 if n[0] == "f" else 320.25 if n == "cx" else 240.75 if n == "cy" else 0.01 for n in names]
    path = tmp_path / "cameras.bin"
    path.write_bytes(colmap_binary((NUMBERED[model], 640, 480, values)))
    text = colmap_text(tmp_path, f"1 {model} 640 480 {' '.join(map(str, values))}")
    lens = read_lens(path)
    assert lens == read_lens(text) == read_lens(tmp_path)
    assert (lens.model, lens.height, lens.width, lens.centre) == (model, 480, 640, (319.75, 240.25))


@pytest.mark.parametrize("ending", ["yml", "xml", "json"])
@pytest.mark.parametrize("coefficients", [4, 5, 8, 14])
@pytest.mark.parametrize("upright", [True, False])
def test_what_opencv_writes_is_read(tmp_path, ending: str, coefficients: int, upright: bool) -> None:
    k = np.array([[520.123456789, 0, 319.5], [0, 1e3 / 3, 241], [0, 0, 1]])
    bent = np.zeros(coefficients)
    bent[:8] = [-0.28, 0.07, 1.2e-3, -8e-5, 0.01, 0.02, -0.03, 0.004][:coefficients]
    path = tmp_path / f"camera.{ending}"
    storage = cv2.FileStorage(str(path), cv2.FILE_STORAGE_WRITE)
    storage.write("calibration_time", "Thu Nov 26 07:00:00 2026")
    storage.write("image_width", 640)
    storage.write("image_height", 480)
    storage.write("camera_matrix", k)
    storage.write("distortion_coefficients", bent[:, None] if upright else bent[None])
    storage.release()
    lens = read_lens(path)
    assert (lens.height, lens.width) == (480, 640)
    np.testing.assert_array_equal(lens.intrinsics.numpy(), k)
    points = np.random.default_rng(0).uniform([-1, -0.8, 2], [1, 0.8, 3], (50, 3))
    theirs = cv2.projectPoints(points[:, None], np.zeros(3), np.zeros(3), k, bent)[0][:, 0]
    np.testing.assert_allclose(lens.project(torch.from_numpy(points))[0].numpy(), theirs, atol=1e-9)


def test_fisheye_calibrations_say_so(tmp_path) -> None:
    table = {
        "camera_matrix": [[280, 0, 320], [0, 281, 238], [0, 0, 1]],
        "distortion_coefficients": [0.02, -0.006, 0.001, 0],
    }
    path = tmp_path / "camera.json"
    path.write_text(json.dumps(table | {"fisheye_model": 1}))
    assert read_lens(path) == Lens("OPENCV_FISHEYE", (280, 281, 320, 238, 0.02, -0.006, 0.001, 0))
    path.write_text(json.dumps(table))
    assert read_lens(path).model == "OPENCV"


def test_what_ros_writes_is_read(tmp_path) -> None:
    path = tmp_path / "camera.yaml"
    path.write_text(
        "image_width: 640\nimage_height: 480\ncamera_name: left\ncamera_matrix:\n  rows: 3\n  cols: 3\n"
        "  data: [520, 0, 319.5, 0, 510, 241, 0, 0, 1]\ndistortion_model: plumb_bob\ndistortion_coefficients:\n"
        "  rows: 1\n  cols: 5\n  data: [-0.28, 0.07, 0.0012, -0.0008, 0]\n"
    )
    assert read_lens(path) == OPENCV
    path.write_text(
        path.read_text().replace("plumb_bob", "equidistant").replace("cols: 5", "cols: 4").replace(", 0]", "]")
    )
    assert read_lens(path).fisheye


def test_a_row_of_numbers_is_a_camera() -> None:
    assert read_lens("520,510,319.5,241,-0.28,0.07,0.0012,-0.0008") == Lens(OPENCV.model, OPENCV.parameters)
    assert read_lens("520,510,319.5,241") == Lens("PINHOLE", (520, 510, 319.5, 241))


GOOD = (
    "%YAML:1.0\n---\ncamera_matrix: !!opencv-matrix\n   rows: 3\n   cols: 3\n   dt: d\n"
    "   data: [ 520., 0., 319.5, 0., 510., 241., 0., 0., 1. ]\n"
)
BAD = {
    "another program's": ("camera.txt", "model: sedan\nwheels: 4\n", "is no camera file"),
    "a table of numbers": ("poses.txt", "0.0 1 2 3 0 0 0 1\n0.1 1 2 3 0 0 0 1\n", "is no camera file"),
    "COLMAP's images": ("images.txt", "1 0.9 0 0 0.1 1 2 3 1 a.jpg\n100 200 -1\n", "is no camera file"),
    "nothing": ("camera.yml", "", "is no camera file"),
    "JSON of another kind": ("camera.json", "[1, 2]", "is no camera file"),
    "two": ("cameras.txt", "1 PINHOLE 640 480 500 500 320 240\n2 PINHOLE 640 480 500 500 320 240\n", "holds 2 cameras"),
    "a line cut short": ("cameras.txt", "1 OPENCV 640 480 500 500 320 240 0.1\n", "wants 8"),
    "a line without a size": ("cameras.txt", "1 OPENCV\n", "damaged or cut short"),
    "a word for a number": ("cameras.txt", "1 PINHOLE 640 480 500 500 a 240\n", "damaged or cut short"),
    "a model that is not known": ("cameras.txt", "1 FOV 640 480 500 500 320 240 0.9\n", "FOV are not known"),
    "no focal length": ("cameras.txt", "1 PINHOLE 640 480 0 500 320 240\n", "focal length of 0"),
    "infinite": ("cameras.txt", "1 PINHOLE 640 480 inf 500 320 240\n", "finite"),
    "no such size": ("cameras.txt", "1 PINHOLE nan 480 500 500 320 240\n", "damaged or cut short"),
    "no size": ("cameras.txt", "1 PINHOLE 0 480 500 500 320 240\n", "from 1"),
    "YAML cut short": ("camera.yml", GOOD[:-20], "damaged or cut short"),
    "a matrix with a number missing": ("camera.yml", GOOD.replace(", 1. ]", " ]"), "numbers missing"),
    "a matrix with skew": ("camera.yml", GOOD.replace("520., 0.", "520., 3."), "skew"),
    "values that are none": ("camera.yml", GOOD.replace("520.", ".Nan"), "no matrix of numbers"),
    "XML cut short": (
        "camera.xml",
        "<opencv_storage><camera_matrix type_id='opencv-matrix'><rows>3",
        "damaged or cut short",
    ),
    "XML of another kind": ("camera.xml", "<html><body/></html>", "is no camera file"),
    "three coefficients": ("camera.yml", GOOD + "distortion_coefficients: [0.1, 0.2, 0.3]\n", "give 4, 5 or 8"),
    "a prism": ("camera.yml", GOOD + f"distortion_coefficients: {[0.1] * 12}\n", "prism"),
    "a size that is a word": ("camera.yml", GOOD + "image_width: wide\nimage_height: 4\n", "image_width"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_file_that_is_no_camera_is_told_in_a_sentence(tmp_path, case: str) -> None:
    name, text, said = BAD[case]
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(InputError) as told:
        read_lens(path)
    assert said in str(told.value) and str(path) in str(told.value)
    assert str(told.value).count(". ") == 0 and str(told.value).endswith(".")


def test_a_binary_file_cut_anywhere_is_told_in_a_sentence(tmp_path) -> None:
    path = tmp_path / "cameras.bin"
    whole = colmap_binary((4, 640, 480, [500.0, 500, 320, 240, 0.1, 0, 0, 0]))
    for data in [whole[:n] for n in range(len(whole))] + [whole + b"\0", b"\xff" * 88]:
        path.write_bytes(data)
        with pytest.raises(InputError, match=r"whole cameras\.bin|no camera file"):
            read_lens(path)
    path.write_bytes(colmap_binary((4, 640, 480, [500.0] * 8), (1, 640, 480, [500.0] * 4)))
    with pytest.raises(InputError, match="holds 2 cameras"):
        read_lens(path)
    path.write_bytes(colmap_binary((7, 640, 480, [500.0] * 5)))
    with pytest.raises(InputError, match="FOV"):
        read_lens(path)


@given(st.binary(max_size=200))
@settings(deadline=None, max_examples=40)
def test_any_bytes_are_a_camera_or_told_in_a_sentence(tmp_path_factory, data: bytes) -> None:
    for name in ("cameras.bin", "camera.yml"):
        path = tmp_path_factory.getbasetemp() / name
        path.write_bytes(data)
        try:
            assert isinstance(read_lens(path), Lens)
        except InputError as error:
            assert str(error).endswith(".")


def test_other_places_and_rows_are_told_in_a_sentence(tmp_path) -> None:
    for place, said in (
        (tmp_path / "none.yml", "check the path"),
        ("1,2,3", "give fx,fy,cx,cy"),
        ("500,500,320,240,1,2", "give 4, 5 or 8"),
        ("nan,500,320,240", "finite"),
        ("s3://bucket/cameras.txt", "local disk"),
        (tmp_path, "check the path"),
    ):
        with pytest.raises(InputError, match=said):
            read_lens(place)
    big = tmp_path / "video.bin"
    big.write_bytes(bytes(2 << 20))
    with pytest.raises(InputError, match="no camera file"):
        read_lens(big)


def test_a_camera_of_another_size_is_refused() -> None:
    assert OPENCV.sized(480, 640) == OPENCV
    assert Lens(OPENCV.model, OPENCV.parameters).sized(480, 640) == OPENCV
    with pytest.raises(InputError, match="640x480, but the video is 1280x720"):
        OPENCV.sized(720, 1280)
