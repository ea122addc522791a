"""Scenes: point maps of a clip, on disk or in memory."""

from geometrycrafter.scene.store import Scene, open_scene

__all__ = ["Scene", "open_scene"]
