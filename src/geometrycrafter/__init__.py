"""Temporally consistent point maps from open-world videos.

>>> import geometrycrafter as gc
>>> scene = gc.estimate("video.mp4")
>>> scene.points[0]  # [H, W, 3]
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from geometrycrafter.errors import InputError

if TYPE_CHECKING:
    from geometrycrafter import evaluation as evaluation
    from geometrycrafter import poses as poses
    from geometrycrafter.inference.estimate import estimate as estimate
    from geometrycrafter.inference.loading import load as load
    from geometrycrafter.scene import Scene as Scene
    from geometrycrafter.scene import SceneFrames as SceneFrames
    from geometrycrafter.scene import open_scene as open

__all__ = ["InputError", "Scene", "SceneFrames", "__version__", "estimate", "evaluation", "load", "open", "poses"]

_PLACES = {
    "Scene": ("geometrycrafter.scene", "Scene"),
    "SceneFrames": ("geometrycrafter.scene", "SceneFrames"),
    "estimate": ("geometrycrafter.inference.estimate", "estimate"),
    "open": ("geometrycrafter.scene", "open_scene"),
    "load": ("geometrycrafter.inference.loading", "load"),
}
_MODULES = {"evaluation", "poses"}


def __getattr__(name: str) -> Any:
    """What is public, loaded when it is first asked for: torch and Zarr take seconds."""
    if name in _PLACES:
        module, attribute = _PLACES[name]
        value = getattr(import_module(module), attribute)
    elif name in _MODULES:
        value = import_module(f"geometrycrafter.{name}")
    elif name == "__version__":
        from geometrycrafter.version import program_version

        value = program_version()
    else:
        raise AttributeError(f"module 'geometrycrafter' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
