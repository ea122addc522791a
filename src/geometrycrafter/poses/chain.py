"""Where to begin: the motion between neighbouring frames, by closed-form alignment of their points in RANSAC."""

from __future__ import annotations

import numpy as np

Array = np.ndarray


def procrustes(a: Array, b: Array, weight: Array | None = None) -> tuple[Array, Array]:
    """Rotation ``[..., 3, 3]`` and translation ``[..., 3]`` that take points ``[..., n, 3]`` nearest to others."""
    w = np.ones(a.shape[:-1]) if weight is None else weight
    w = (w / w.sum(-1, keepdims=True))[..., None]
    ma, mb = (w * a).sum(-2, keepdims=True), (w * b).sum(-2, keepdims=True)
    u, _, vt = np.linalg.svd(np.swapaxes(w * (b - mb), -1, -2) @ (a - ma))
    sign = np.linalg.det(u @ vt)
    u = u.copy()
    u[..., :, 2] *= sign[..., None]
    r = u @ vt
    return r, mb[..., 0, :] - np.einsum("...ij,...j->...i", r, ma[..., 0, :])


def between(
    a: Array, b: Array, xy: Array, focal: Array, centre: Array, rng: np.random.Generator,
    tries: int = 128, pixels: float = 2.0,
) -> tuple[Array, Array, Array]:
    """Motion from one frame's axes to the next one's.

    Args:
        a: ``[n, 3]`` points in the first frame's axes.
        b: ``[n, 3]`` in the second's; NaN where unknown.
        xy: ``[n, 2]`` pixels in the second.

    Returns:
        rotation, translation, and which points ``[n]`` agree.
    """
    both = np.flatnonzero(np.isfinite(b).all(1))
    if len(both) < 4:
        return np.eye(3), np.zeros(3), np.zeros(len(a), bool)
    pick = both[rng.integers(0, len(both), (tries, 4))]
    # depth of the second frame may have a scale of its own
    r, t = procrustes(a[pick], b[pick])
    r = np.concatenate([r, np.eye(3)[None]])
    t = np.concatenate([t, np.zeros((1, 3))])
    x = np.einsum("kij,nj->kni", r, a) + t[:, None]
    err = np.linalg.norm(focal * x[..., :2] / np.maximum(x[..., 2:], 1e-6) + centre - xy, axis=-1)
    score = np.minimum(err, 2 * pixels).sum(1)
    best = int(score.argmin())
    r, t = r[best], t[best]
    for width in (4 * pixels, 2 * pixels, pixels, pixels, pixels):
        r, t = _polished(r, t, a, xy, focal, centre, width)
    x = a @ r.T + t
    err = np.linalg.norm(focal * x[:, :2] / np.maximum(x[:, 2:], 1e-6) + centre - xy, axis=-1)
    return r, t, err < 2 * pixels


def _polished(r, t, a, xy, focal, centre, width):
    from geometrycrafter.poses.bundle import exp_rotation
    x = a @ r.T + t
    z = np.maximum(x[:, 2], 1e-6)
    res = focal * x[:, :2] / z[:, None] + centre - xy
    w = 1 / (1 + (res**2).sum(1) / width**2)
    w[x[:, 2] < 1e-6] = 0
    d = np.zeros((len(a), 2, 3))
    d[:, 0, 0], d[:, 0, 2] = focal[0] / z, -focal[0] * x[:, 0] / z**2
    d[:, 1, 1], d[:, 1, 2] = focal[1] / z, -focal[1] * x[:, 1] / z**2
    j = np.concatenate([np.cross(x[:, None], d), d], -1)
    h = np.einsum("n,nij,nik->jk", w, j, j) + np.eye(6) * 1e-9
    g = -np.einsum("n,nij,ni->j", w, j, res)
    h[np.diag_indices(6)] *= 1.001
    step = np.linalg.solve(h, g)
    turn = exp_rotation(step[:3])
    return turn @ r, turn @ t + step[3:]
