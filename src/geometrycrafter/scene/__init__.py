"""Scenes: point maps of a clip, on disk, at a URL or in memory.

NAME.gc/                   a Zarr v3 group, chunked by frame
  zarr.json                attributes: fps, source, source_details, model, options, version, complete
  depth       [T, H, W]    float32, planar, in the clip's own scale
  mask        [T, H, W]    bool
  intrinsics  [T, 3, 3]    float32, pixels; pixel centres are integers
  rays        [T, H, W, 2] float32, x/z and y/z; only where the focal length is free
  confidence  [T, H, W]    float16, the probability that a point is right; 0 where nothing is valid
  sky         [T, H, W]    bool; where the model tells it from other pixels that are not valid
  poses       [T, 4, 4]    float32, camera-to-world; where known
  pose_quality, pose_covariance, moving, depth_correction, intrinsics_refined: what the motion tells, where asked for
  track_points, track_seen, track_pixels: static points of the world, and the frames and pixels that they are seen in
  times       [T]          float64, seconds since the source's first frame
  shots       [S]          int64, the first frame of each shot; scale and poses are each one's own
  frames      [T, h, w, 3] uint8, a small copy for pictures
  journal.jsonl            a line for every finished stretch of frames
  work/                    intermediate results of a run under way
"""

from geometrycrafter.scene.dataset import SceneFrames
from geometrycrafter.scene.reader import Scene, open_scene
from geometrycrafter.scene.source import SourceRecord

__all__ = ["Scene", "SceneFrames", "SourceRecord", "open_scene"]
