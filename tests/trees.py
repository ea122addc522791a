"""Miniature trees of the data sets, each in its true layout and encoding, of a room whose geometry is a closed form.

Everything is written by other programs' encoders (OpenCV, OpenEXR, h5py) and by each set's own conventions, worked out
from their descriptions and not from the adapters.
"""

from __future__ import annotations

import csv
import gzip
import json
import math
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import h5py
import numpy as np
import OpenEXR


@dataclass
class Truth:
    """What a tree shows: OpenCV's axes, metres (or the set's unit), pixel centres integers."""

    intrinsics: np.ndarray  # [3, 3]
    poses: np.ndarray  # [T, 4, 4] camera-to-world
    pictures: np.ndarray  # [T, H, W, 3] uint8
    depth: np.ndarray  # [T, H, W]
    sky: np.ndarray  # [T, H, W]

    @property
    def points(self) -> np.ndarray:
        """[T, H, W, 3] in each frame's camera axes."""
        return rays(self.intrinsics, self.depth.shape[1:]) * self.depth[..., None]


def rays(intrinsics: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    v, u = np.mgrid[: shape[0], : shape[1]]
    x = (u - intrinsics[0, 2]) / intrinsics[0, 0]
    y = (v - intrinsics[1, 2]) / intrinsics[1, 1]
    return np.stack([x, y, np.ones(shape)], -1)


def turn(axis: np.ndarray, angle: float) -> np.ndarray:
    """Rotation by Rodrigues' formula."""
    x, y, z = axis / np.linalg.norm(axis)
    k = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + math.sin(angle) * k + (1 - math.cos(angle)) * k @ k


def room(intrinsics: np.ndarray, shape: tuple[int, int] = (48, 64), frames: int = 3, size: float = 3.0) -> Truth:
    """A box without a ceiling, seen by a camera that walks and turns in it; looking straight up is sky."""
    h, w = shape
    middle = rays(intrinsics, shape)[h // 2, w // 2]
    # Where the principal point is far from a small picture, turn the camera so that the picture looks forward and a
    # little up, with sky in it.
    wanted = np.array([0.1, -0.45, 1.0])
    axis, angle = np.cross(middle, wanted), math.acos(middle @ wanted / np.linalg.norm(middle) / np.linalg.norm(wanted))
    base = turn(axis, angle) if angle > 1e-6 else np.eye(3)
    # A small part of a large picture sees little: move less, so that frames overlap.
    step = min(1.0, w / intrinsics[0, 0] / 1.3)
    poses, depths, skies, pictures = [], [], [], []
    low, high = np.array([-size, -0.55 * size, -size]), np.array([size, 0.4 * size, 1.2 * size])
    for t in range(frames):
        pose = np.eye(4)
        pose[:3, :3] = turn(np.array([0.3, 1, 0.2]), 0.05 * step * t) @ base
        pose[:3, 3] = np.array([0.06, -0.02, 0.03]) * size * step * t
        d = rays(intrinsics, shape) @ pose[:3, :3].T
        with np.errstate(divide="ignore"):
            far = np.where(d > 0, high - pose[:3, 3], low - pose[:3, 3]) / d
        z = far.min(-1)  # rays have length one along the optical axis
        side = far.argmin(-1)
        sky = (side == 1) & (d[..., 1] < 0)
        where = pose[:3, 3] + d * z[..., None]
        check = (np.floor(where / size * 4).sum(-1) % 2) * 90 + 60
        pictures.append(np.clip(np.stack([check, check + 30 * side, where[..., 2] * 10 + 100], -1), 0, 255))
        poses.append(pose)
        depths.append(np.where(sky, 0, z))
        skies.append(sky)
    return Truth(intrinsics, np.stack(poses), np.stack(pictures).astype(np.uint8), np.stack(depths), np.stack(skies))


def square(shape: tuple[int, int] = (48, 64), focal: float = 50.0, dx: float = 1.3, dy: float = -0.8) -> np.ndarray:
    """Intrinsics with a principal point a little off the middle."""
    return np.array([[focal, 0, (shape[1] - 1) / 2 + dx], [0, 1.1 * focal, (shape[0] - 1) / 2 + dy], [0, 0, 1]])


def fixed(fx: float, fy: float, cx: float, cy: float) -> np.ndarray:
    return np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], float)


def picture(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    settings = [cv2.IMWRITE_JPEG_QUALITY, 98] if path.suffix.lower() in (".jpg", ".jpeg") else []
    ok, data = cv2.imencode(path.suffix.lower(), image[..., ::-1] if image.ndim == 3 else image, settings)
    assert ok
    path.write_bytes(data.tobytes())


def exr(path: Path, **channels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    OpenEXR.File(header, {k: np.ascontiguousarray(v) for k, v in channels.items()}).write(str(path))


def text(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


def numbers(values: np.ndarray) -> str:
    return " ".join(repr(float(x)) for x in np.asarray(values).ravel())


def quaternion(rotation: np.ndarray) -> np.ndarray:
    """w, x, y, z, as the eigenvector of Bar-Itzhack's matrix."""
    (a, b, c), (d, e, f), (g, h, i) = rotation
    k = np.array([[a - e - i, d + b, g + c, h - f], [0, e - a - i, h + f, c - g], [0, 0, i - a - e, d - b], [0] * 4])
    k[3, 3] = a + e + i
    _, vectors = np.linalg.eigh((k + np.triu(k, 1).T) / 3)
    x, y, z, w = vectors[:, -1]
    return np.array([w, x, y, z]) * (1 if w >= 0 else -1)


def half_bits(values: np.ndarray) -> np.ndarray:
    return values.astype(np.float16).view(np.uint16)


def distance(truth: Truth, t: int) -> np.ndarray:
    return truth.depth[t] * np.linalg.norm(rays(truth.intrinsics, truth.depth.shape[1:]), axis=-1)


def ken_burns(root: Path) -> Truth:
    field, side = 84.5279, 48
    focal = side / 2 / math.tan(math.radians(field) / 2)
    truth = room(fixed(focal, focal, (side - 1) / 2, (side - 1) / 2), (side, side))
    for t in range(3):
        for corner in ("bl", "br", "tl", "tr"):
            picture(root / "asdf-flying" / f"{t + 1:05d}-{corner}-image.png", truth.pictures[t])
            z = np.where(truth.sky[t], 30000, truth.depth[t] * 1000).astype(np.float32)
            exr(root / "asdf-flying-depth" / f"{t + 1:05d}-{corner}-depth.exr", Z=z)
        text(root / "asdf-flying" / f"{t + 1:05d}-meta.json", json.dumps({"intSample": 656, "fltFov": field}))
    return truth


def dynamic_replica(root: Path) -> Truth:
    truth = room(square())
    h, w = truth.depth.shape[1:]
    k, scale = truth.intrinsics, min(h, w) / 2
    rows = []
    for camera in ("left", "right"):
        name = f"90ac3c-3_obj_source_{camera}"
        for t in range(3):
            image, depth = f"{name}/images/{name}-{t:04d}.png", f"{name}/depths/{name}_{t:04d}.geometric.png"
            mask = f"{name}/masks/{name}_{t:04d}.png"
            picture(root / "train" / image, truth.pictures[t])
            picture(root / "train" / depth, half_bits(truth.depth[t]))
            picture(root / "train" / mask, np.where(truth.depth[t] > 3, 255, 0).astype(np.uint8))
            # PyTorch3D: x' = x R + T for row vectors, x to the left, y up.
            to_camera = np.linalg.inv(truth.poses[t])
            flip = np.diag([-1.0, -1, 1])
            view = {
                "R": (flip @ to_camera[:3, :3]).T.tolist(),
                "T": (flip @ to_camera[:3, 3]).tolist(),
                "focal_length": [k[0, 0] / scale, k[1, 1] / scale],
                "principal_point": [((w - 1) / 2 - k[0, 2]) / scale, ((h - 1) / 2 - k[1, 2]) / scale],
                "intrinsics_format": "ndc_isotropic",
            }
            rows.append(
                {
                    "sequence_name": "90ac3c-3_obj",
                    "camera_name": camera,
                    "frame_number": t,
                    "image": {"path": image, "size": [h, w]},
                    "depth": {"path": depth},
                    "mask": {"path": mask},
                    "viewpoint": view,
                }
            )
    with gzip.open(root / "train" / "frame_annotations_train.jgz", "wt") as file:
        json.dump(rows[::-1], file)
    return truth


def gta_sfm(root: Path) -> Truth:
    truth = room(square())
    (root / "train").mkdir(parents=True)
    with h5py.File(root / "train" / "20190124_203632.hdf5", "w") as file:
        for t in range(3):
            file[f"image_{t}"] = cv2.imencode(".png", truth.pictures[t][..., ::-1])[1].ravel()
            corner = truth.intrinsics.copy()
            corner[:2, 2] += 0.5
            file[f"K_{t}"], file[f"pose_{t}"] = corner, truth.poses[t]
            file[f"depth_{t}"] = truth.depth[t].astype(np.float32)
    return truth


def hypersim(root: Path, name: str = "ai_001_001", tilt: np.ndarray | None = None, skew: float = 0.0) -> Truth:
    """A scene of it; with a tilt, the stored pose looks elsewhere than the picture does, as through a shifted lens."""
    truth = room(square(dx=1.3 if tilt is None else 5, focal=50))
    h, w = truth.depth.shape[1:]
    scene, metres = root / name, 0.0254
    for t in range(3):
        files = {
            f"scene_cam_00_final_hdf5/frame.{t:04d}.color": (truth.pictures[t] / 255.0) ** 2.2 * 3,
            f"scene_cam_00_geometry_hdf5/frame.{t:04d}.depth_meters": np.where(
                truth.sky[t], np.nan, distance(truth, t)
            ),
        }
        for name, values in files.items():
            path = scene / "images" / f"{name}.hdf5"
            path.parent.mkdir(parents=True, exist_ok=True)
            with h5py.File(path, "w") as file:
                file["dataset"] = values.astype(np.float16)
        with h5py.File(
            scene / "images" / "scene_cam_00_geometry_hdf5" / f"frame.{t:04d}.render_entity_id.hdf5", "w"
        ) as file:
            file["dataset"] = np.ones((h, w), np.int32)
    (scene / "_detail" / "cam_00").mkdir(parents=True)
    tilt = np.eye(3) if tilt is None else tilt
    gl = truth.poses[:, :3, :3] @ tilt @ np.diag([1.0, -1, -1]), truth.poses[:, :3, 3] / metres
    for name, values in (("orientations", gl[0]), ("positions", gl[1])):
        with h5py.File(scene / "_detail" / "cam_00" / f"camera_keyframe_{name}.hdf5", "w") as file:
            file["dataset"] = values
    text(scene / "_detail" / "metadata_scene.csv", f"parameter_name,parameter_value\nmeters_per_asset_unit,{metres}\n")
    # A ray of the stored pose's camera for each point of the square from -1 to 1, the picture's edges.
    skewed = truth.intrinsics.copy()
    skewed[0, 1] = skew
    pixel = np.array([[w / 2, 0, (w - 1) / 2], [0, -h / 2, (h - 1) / 2], [0, 0, 1]])
    rays = np.diag([1.0, -1, -1]) @ tilt.T @ np.linalg.inv(skewed) @ pixel
    row = {"scene_name": scene.name, "settings_output_img_width": float(w), "settings_output_img_height": float(h)}
    row |= {f"M_cam_from_uv_{i}{j}": rays[i, j] for i in range(3) for j in range(3)}
    table = root / "metadata_camera_parameters.csv"
    with open(table, "a", newline="") as file:
        writer = csv.DictWriter(file, list(row))
        if not file.tell():
            writer.writeheader()
        writer.writerow(row)
    return truth


def irs(root: Path) -> Truth:
    truth = room(fixed(480, 480, 479.5, 269.5))
    for t in range(3):
        folder = root / "Home" / "ArchVizInterior03Data"
        picture(folder / f"l_{t + 1:05d}.png", truth.pictures[t])
        with np.errstate(divide="ignore"):
            disparity = np.where(truth.sky[t], 0, 480 * 0.1 / truth.depth[t])
        exr(folder / f"d_{t + 1:05d}.exr", G=disparity.astype(np.float32))
    return truth


def matrix_city(
    root: Path, block: str = "small_city/aerial/train/block_1", single: bool = False, size: float = 60, frames: int = 3
) -> Truth:
    """A block of it, with depth of half precision, of single precision too where that is wanted."""
    city, view, split, name = block.split("/")
    angle, (h, w) = math.radians(45), (48, 64)
    focal = w / 2 / math.tan(angle / 2)
    truth = room(fixed(focal, focal, (w - 1) / 2, (h - 1) / 2), (h, w), size=size, frames=frames)
    listed = []
    for t in range(frames):
        picture(root / block / f"{t:04d}.png", truth.pictures[t])
        z = np.minimum(np.where(truth.sky[t], np.inf, truth.depth[t] * 100), 65504).astype(np.float16)
        exr(root / f"{city}_depth" / view / split / f"{name}_depth" / f"{t:04d}.exr", R=z, G=z, B=z)
        if single:
            z = np.where(truth.sky[t], 2e6, truth.depth[t] * 100).astype(np.float32)
            exr(root / f"{city}_depth_float32" / view / split / f"{name}_depth" / f"{t:04d}.exr", R=z, G=z, B=z)
        gl = truth.poses[t] @ np.diag([1.0, -1, -1, 1])
        gl[:3, :3] /= 100
        listed.append({"frame_index": t, "rot_mat": gl.tolist()})
    text(root / block / "transforms.json", json.dumps({"camera_angle_x": angle, "frames": listed[::-1]}))
    return truth


def mid_air(root: Path) -> Truth:
    truth = room(fixed(512, 512, 511.5, 511.5))
    weather, name = root / "Kite_training" / "sunny", "trajectory_0000"
    positions, attitudes = np.zeros((9, 3)), np.zeros((9, 4))
    for t in range(3):
        picture(weather / "color_left" / name / f"{t:06d}.JPEG", truth.pictures[t])
        picture(weather / "depth" / name / f"{t:06d}.PNG", half_bits(np.where(truth.sky[t], 60000, distance(truth, t))))
        # The body looks along x, y is to its right, z below it.
        right, down, forward = truth.poses[t, :3, :3].T
        attitudes[4 * t] = quaternion(np.stack([forward, right, down], axis=1))
        positions[4 * t] = truth.poses[t, :3, 3]
    with h5py.File(weather / "sensor_records.hdf5", "w") as file:
        file[f"{name}/groundtruth/position"], file[f"{name}/groundtruth/attitude"] = positions, attitudes
    return truth


def mvs_synth(root: Path) -> Truth:
    truth = room(square(), size=30)
    folder = root / "GTAV_720" / "0000"
    # A left-handed world: x and y change places.
    swap = np.eye(4)[[1, 0, 2, 3]]
    for t in range(3):
        picture(folder / "images" / f"{t:04d}.png", truth.pictures[t])
        exr(
            folder / "depths" / f"{t:04d}.exr", Y=np.where(truth.sky[t], np.inf, truth.depth[t] * 10).astype(np.float32)
        )
        world = swap @ truth.poses[t]
        world[:3, 3] *= 10
        (fx, _, cx), (_, fy, cy), _ = truth.intrinsics
        stored = {"f_x": fx, "f_y": fy, "c_x": cx, "c_y": cy, "extrinsic": np.linalg.inv(world).tolist()}
        text(folder / "poses" / f"{t:04d}.json", json.dumps(stored))
    text(root / "GTAV_720" / "num_images.json", "[3]")
    return truth


def spring(root: Path) -> Truth:
    truth = room(square())
    folder = root / "train" / "0001"
    (fx, _, cx), (_, fy, cy), _ = truth.intrinsics
    for t in range(3):
        picture(folder / "frame_left" / f"frame_left_{t + 1:04d}.png", truth.pictures[t])
        with np.errstate(divide="ignore"):
            disparity = np.where(truth.sky[t], np.nan, fx * 0.065 / truth.depth[t]).astype(np.float32)
        fine = np.full(tuple(2 * s for s in disparity.shape), 99, np.float32)
        fine[::2, ::2] = disparity
        (folder / "disp1_left").mkdir(parents=True, exist_ok=True)
        with h5py.File(folder / "disp1_left" / f"disp1_left_{t + 1:04d}.dsp5", "w") as file:
            file["disparity"] = fine
        sky = np.repeat(np.repeat(truth.sky[t], 2, 0), 2, 1)
        picture(folder / "maps" / "skymap_left" / f"skymap_left_{t + 1:04d}.png", sky.astype(np.uint8) * 255)
    text(folder / "cam_data" / "intrinsics.txt", f"{fx} {fy} {cx} {cy}\n" * 3)
    motions = "\n".join(numbers(np.linalg.inv(p)) for p in truth.poses)
    text(folder / "cam_data" / "extrinsics.txt", motions + "\n")
    return truth


def structured3d(root: Path) -> Truth:
    (h, w), half = (48, 64), (0.69, 0.44)
    intrinsics = fixed(w / 2 / math.tan(half[0]), h / 2 / math.tan(half[1]), (w - 1) / 2, (h - 1) / 2)
    truth = room(intrinsics, (h, w))
    for t in range(3):
        folder = root / "Structured3D" / "scene_00000" / "2D_rendering" / "485142" / "perspective" / "full" / str(t)
        picture(folder / "rgb_rawlight.png", truth.pictures[t])
        picture(folder / "depth.png", np.rint(truth.depth[t] * 1000).astype(np.uint16))
        _, down, forward = truth.poses[t, :3, :3].T
        values = np.concatenate([truth.poses[t, :3, 3] * 1000, forward, -down, half, [1]])
        text(folder / "camera_pose.txt", numbers(values) + "\n")
    return truth


def synthia(root: Path) -> Truth:
    truth = room(fixed(532.740352, 532.740352, 639.5, 379.5), size=30)
    top = root / "SYNTHIA-SEQS-01-DAWN"
    for t in range(3):
        name = f"Stereo_Left/Omni_F/{t:06d}"
        picture(top / "RGB" / f"{name}.png", truth.pictures[t])
        z = np.where(truth.sky[t], 65000, np.rint(truth.depth[t] * 100)).astype(np.uint16)
        picture(top / "Depth" / f"{name}.png", z)
        labels = np.zeros((*z.shape, 3), np.uint16)
        labels[..., 1] = np.where(truth.sky[t], 1, 2)
        picture(top / "GT" / "LABELS" / f"{name}.png", labels)
        # The recording's world has two axes exchanged: it is left-handed.
        stored = np.eye(4)[[0, 2, 1, 3]] @ truth.poses[t] @ np.diag([1.0, -1, -1, 1])
        text(top / "CameraParams" / f"{name}.txt", numbers(stored.T))
    text(top / "CameraParams" / "intrinsics.txt", "532.740352\n\n640.0\n\n380.0\n\n0.8\n")
    return truth


def tartan_air(root: Path) -> Truth:
    truth = room(fixed(320, 320, 319.5, 239.5))
    folder = root / "abandonedfactory" / "abandonedfactory" / "Easy" / "P000"
    lines = []
    for t in range(3):
        picture(folder / "image_left" / f"{t:06d}_left.png", truth.pictures[t])
        (folder / "depth_left").mkdir(parents=True, exist_ok=True)
        z = np.where(truth.sky[t], 10000, truth.depth[t]).astype(np.float32)
        np.save(folder / "depth_left" / f"{t:06d}_left_depth.npy", z)
        right, down, forward = truth.poses[t, :3, :3].T
        w, x, y, z_ = quaternion(np.stack([forward, right, down], axis=1))
        lines.append(numbers(np.array([*truth.poses[t, :3, 3], x, y, z_, w])))
    text(folder / "pose_left.txt", "\n".join(lines) + "\n")
    return truth


def urban_syn(root: Path) -> Truth:
    truth = room(fixed(1730.21, 1730.21, 1023.5, 511.5), size=30)
    for t in range(3):
        picture(root / "rgb" / f"rgb_{t + 1:04d}.png", truth.pictures[t])
        z = np.where(truth.sky[t], 1000, truth.depth[t]) / 1e5
        exr(root / "depth" / f"depth_{t + 1:04d}.exr{'.1' * (t == 1)}", Y=z.astype(np.float32))
        classes = np.where(truth.sky[t], 10, 2).astype(np.uint8)
        picture(root / "ss" / f"ss_{t + 1:04d}.png", np.stack([classes] * 3, -1) if t else classes)
    camera = {"focalLength_mm": 1730.21 / 100, "sensorWidth_mm": 20.48, "sensorHeight_mm": 10.24}
    text(root / "camera_metadata.json", json.dumps({"parameters": [{"Camera": camera}]}))
    return truth


def virtual_kitti(root: Path) -> Truth:
    truth = room(square(), size=30)
    variant = root / "Scene01" / "clone"
    (fx, _, cx), (_, fy, cy), _ = truth.intrinsics
    intrinsic = ["frame cameraID K[0,0] K[1,1] K[0,2] K[1,2]"]
    extrinsic = ["frame cameraID " + " ".join(f"r{i},{j}" for i in range(1, 5) for j in range(1, 5))]
    for t in range(3):
        picture(variant / "frames" / "rgb" / "Camera_0" / f"rgb_{t:05d}.jpg", truth.pictures[t])
        z = np.where(truth.sky[t], 65535, np.rint(truth.depth[t] * 100)).astype(np.uint16)
        picture(variant / "frames" / "depth" / "Camera_0" / f"depth_{t:05d}.png", z)
        for eye in (0, 1):
            intrinsic.append(f"{t} {eye} {fx + eye} {fy} {cx} {cy}")
            motion = np.linalg.inv(truth.poses[t])
            motion[0, 3] -= 0.532725 * eye
            extrinsic.append(f"{t} {eye} {numbers(motion)}")
    text(variant / "intrinsic.txt", "\n".join(intrinsic))
    text(variant / "extrinsic.txt", "\n".join(extrinsic))
    return truth


def gmu_kitchens(root: Path) -> Truth:
    truth = room(fixed(1048, 1051, 960, 529), frames=12)
    for t in range(12):  # more than ten, so that sorting by letters would go wrong
        picture(root / "gmu_scene_001" / "Images" / f"rgb_{t}.png", truth.pictures[t])
        picture(root / "gmu_scene_001" / "Depths" / f"depth_{t}.png", np.rint(truth.depth[t] * 1000).astype(np.uint16))
    return truth


def scannet(root: Path, packed: bool = False) -> Truth:
    truth = room(square(), frames=12)
    scene = root / "scans_test" / "scene0707_00"
    k = np.eye(4)
    k[:3, :3] = truth.intrinsics
    wide = [cv2.resize(p, None, fx=2, fy=2, interpolation=cv2.INTER_NEAREST) for p in truth.pictures]
    depth = [np.rint(d * 1000).astype(np.uint16) for d in truth.depth]
    if not packed:
        for t in range(12):
            picture(scene / "color" / f"{t}.jpg", wide[t])
            picture(scene / "depth" / f"{t}.png", depth[t])
            text(scene / "pose" / f"{t}.txt", "\n".join(numbers(row) for row in truth.poses[t]))
        for name in ("intrinsic_depth", "intrinsic_color"):
            text(scene / "intrinsic" / f"{name}.txt", "\n".join(numbers(row) for row in k))
        return truth
    scene.mkdir(parents=True)
    h, w = truth.depth.shape[1:]
    with open(scene / "scene0707_00.sens", "wb") as file:
        file.write(struct.pack("<IQ", 4, 6) + b"camera")
        file.write(np.stack([np.eye(4), np.eye(4), k, np.eye(4)]).astype("<f4").tobytes())
        file.write(struct.pack("<iiIIIIfQ", 2, 1, 2 * w, 2 * h, w, h, 1000.0, 12))
        for t in range(12):
            colour = cv2.imencode(".jpg", wide[t][..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 98])[1].tobytes()
            deep = zlib.compress(depth[t].tobytes())
            file.write(truth.poses[t].astype("<f4").tobytes() + struct.pack("<QQQQ", t, t, len(colour), len(deep)))
            file.write(colour + deep)
    return truth


def ddad(root: Path) -> Truth:
    truth = room(square(), size=30)
    top, scene = root / "ddad_train_val", root / "ddad_train_val" / "000150"
    (fx, _, cx), (_, fy, cy), _ = truth.intrinsics
    data, samples = [], []

    def stored(pose: np.ndarray) -> dict:
        w, x, y, z = quaternion(pose[:3, :3])
        rotation = {"qw": w, "qx": x, "qy": y, "qz": z}
        return {"rotation": rotation, "translation": dict(zip("xyz", pose[:3, 3].tolist()))}

    for t in range(3):
        name = f"{15569195938203752 + t}"
        picture(scene / "rgb" / "CAMERA_01" / f"{name}.png", truth.pictures[t])
        # A lidar that sits elsewhere and has seen every third pixel's point, a third of a pixel past its corner.
        lidar = np.eye(4)
        lidar[:3, :3], lidar[:3, 3] = turn(np.array([1, 2, 3]), 0.7), [1, 2, 3]
        v, u = (x.ravel() for x in np.mgrid[0:48:3, 0:64:3])
        z = truth.depth[t][v, u]
        at = np.stack([(u + 0.3 - cx) / fx, (v + 0.3 - cy) / fy, np.ones(len(u))], -1) * z[:, None]
        world = at[z > 0] @ truth.poses[t, :3, :3].T + truth.poses[t, :3, 3]
        cloud = (world - lidar[:3, 3]) @ lidar[:3, :3]
        (scene / "point_cloud" / "LIDAR").mkdir(parents=True, exist_ok=True)
        points = np.concatenate([cloud, np.ones((len(cloud), 1))], 1)
        np.savez(scene / "point_cloud" / "LIDAR" / f"{name}.npz", data=points)
        image = {"filename": f"rgb/CAMERA_01/{name}.png", "pose": stored(truth.poses[t])}
        deep = {"filename": f"point_cloud/LIDAR/{name}.npz", "pose": stored(lidar)}
        data.append({"key": f"a{t}", "id": {"name": "CAMERA_01"}, "datum": {"image": image}})
        data.append({"key": f"b{t}", "id": {"name": "LIDAR"}, "datum": {"point_cloud": deep}})
        identity = {"timestamp": f"2019-05-03T00:00:0{t}Z", "index": str(t)}
        samples.append({"id": identity, "datum_keys": [f"a{t}", f"b{t}"], "calibration_key": "c0"})
    calibration = {
        "names": ["LIDAR", "CAMERA_01"],
        "intrinsics": [
            dict.fromkeys(("fx", "fy", "cx", "cy", "skew"), 0),
            {"fx": fx, "fy": fy, "cx": cx, "cy": cy, "skew": 0},
        ],
    }
    text(scene / "calibration" / "c0.json", json.dumps(calibration))
    text(scene / "scene_0a.json", json.dumps({"data": data, "samples": samples[::-1]}))
    splits = {"0": {"filenames": ["000000/absent.json"]}, "1": {"filenames": ["000150/scene_0a.json"]}}
    text(top / "ddad.json", json.dumps({"scene_splits": splits}))
    return truth


def kitti(root: Path, shape: tuple[int, int] = (48, 64), intrinsics: np.ndarray | None = None) -> Truth:
    truth = room(square() if intrinsics is None else intrinsics, shape, size=30)
    drive = "2011_09_26_drive_0002_sync"
    raw = root / "raw_data" / "2011_09_26"
    for t in range(5):
        picture(raw / drive / "image_02" / "data" / f"{t:010d}.png", truth.pictures[min(t, 2)])
    for t in range(3):
        folder = root / "data_depth_annotated" / "val" / drive / "proj_depth" / "groundtruth" / "image_02"
        picture(folder / f"{t:010d}.png", np.rint(truth.depth[t] * 256).astype(np.uint16))
    (fx, _, cx), (_, fy, cy), _ = truth.intrinsics
    lines = ["calib_time: 09-Jan-2012", f"P_rect_01: {numbers(np.zeros(12))}"]
    lines.append(f"P_rect_02: {numbers(np.array([fx, 0, cx, 44.8, 0, fy, cy, 0.2, 0, 0, 1, 0.003]))}")
    text(raw / "calib_cam_to_cam.txt", "\n".join(lines))
    return truth


def monkaa(root: Path) -> Truth:
    truth = room(fixed(1050, 1050, 479.5, 269.5), size=30)
    scene, lines = "a_rain_of_stones_x2", []
    for t in range(3):
        picture(root / "frames_cleanpass" / scene / "left" / f"{t:04d}.png", truth.pictures[t])
        z = np.where(truth.sky[t], 900, truth.depth[t])
        path = root / "disparity" / scene / "left" / f"{t:04d}.pfm"
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = (1050 / z)[::-1].astype("<f4")
        path.write_bytes(f"Pf\n{z.shape[1]} {z.shape[0]}\n-1\n".encode() + rows.tobytes())
        gl = truth.poses[t] @ np.diag([1.0, -1, -1, 1])
        lines += [f"Frame {t}", f"L {numbers(gl)}", f"R {numbers(np.eye(4))}", ""]
    text(root / "camera_data" / scene / "camera_data.txt", "\n".join(lines))
    return truth


def sintel(root: Path) -> Truth:
    truth = room(square())
    for t in range(3):
        name = f"alley_1/frame_{t + 1:04d}"
        picture(root / "training" / "clean" / f"{name}.png", truth.pictures[t])
        h, w = truth.depth.shape[1:]
        depth, camera = (root / "training" / f"{f}" for f in (f"depth/{name}.dpt", f"camdata_left/{name}.cam"))
        for path in (depth, camera):
            path.parent.mkdir(parents=True, exist_ok=True)
        z = np.where(truth.sky[t], 1e10, truth.depth[t]).astype("<f4")
        depth.write_bytes(struct.pack("<fii", 202021.25, w, h) + z.tobytes())
        motion = np.linalg.inv(truth.poses[t])[:3]
        camera.write_bytes(
            struct.pack("<f", 202021.25) + truth.intrinsics.astype("<f8").tobytes() + motion.astype("<f8").tobytes()
        )
        picture(root / "training" / "mask" / f"{name}.png", truth.sky[t].astype(np.uint8) * 255)
    return truth


def diode(root: Path) -> Truth:
    truth = room(fixed(886.81, 927.06, 511.5, 383.5))
    for t in range(3):
        folder = root / "val" / ("outdoor" if t == 2 else "indoors") / "scene_00019" / "scan_00183"
        stem = f"00019_00183_indoors_000_{t:03d}"
        picture(folder / f"{stem}.png", truth.pictures[t])
        np.save(folder / f"{stem}_depth.npy", np.where(truth.sky[t], 5, truth.depth[t])[..., None].astype(np.float32))
        np.save(folder / f"{stem}_depth_mask.npy", (~truth.sky[t]).astype(np.float32))
    return truth


@dataclass
class Tree:
    """How to make a set's tree, and what its encoding can hold."""

    write: Callable[[Path], Truth]
    relative: float = 1e-6
    absolute: float = 0.0
    poses: bool = True
    sky: bool = True
    """Whether the set tells sky from what is unknown."""


TREES = {
    "ken-burns": Tree(ken_burns, poses=False),
    "dynamic-replica": Tree(dynamic_replica, relative=2**-11, sky=False),
    "gta-sfm": Tree(gta_sfm, sky=False),
    "hypersim": Tree(hypersim, relative=2**-11, sky=False),
    "irs": Tree(irs, poses=False, sky=False),
    "matrix-city": Tree(matrix_city, relative=2**-11),
    "mid-air": Tree(mid_air, relative=2**-11),
    "mvs-synth": Tree(mvs_synth),
    "spring": Tree(spring),
    "structured3d": Tree(structured3d, absolute=5.1e-4, sky=False),
    "synthia": Tree(synthia, absolute=5.1e-3),
    "tartan-air": Tree(tartan_air),
    "urban-syn": Tree(urban_syn, poses=False),
    "virtual-kitti": Tree(virtual_kitti, absolute=5.1e-3),
    "gmu-kitchens": Tree(gmu_kitchens, absolute=5.1e-4, poses=False, sky=False),
    "scannet": Tree(scannet, absolute=5.1e-4, sky=False),
    "ddad": Tree(ddad, sky=False),
    "kitti": Tree(kitti, absolute=1 / 511, poses=False, sky=False),
    "monkaa": Tree(monkaa),
    "sintel": Tree(sintel, sky=False),
    "diode": Tree(diode, poses=False, sky=False),
}


def numbered(root: Path, pattern: str, count: int, start: int = 0) -> None:
    """Files that are there and say nothing, numbered."""
    (root / pattern).parent.mkdir(parents=True, exist_ok=True)
    for i in range(start, start + count):
        (root / pattern.format(i)).write_bytes(b"x")
