"""The solver: all cameras, the points of all tracks and a correction of each frame's depth at once.

The paper's eq. 10 sums, over all pairs of a window's frames, how far a point that is lifted in one frame by its depth
lands from where it is tracked in the other, in pixels and depth. Here the point itself is the unknown that ties its
frames together, and is eliminated in closed form (Schur complement), so that each observation counts once and the
normal matrix is that of the cameras alone: an estimate of maximum likelihood, whose covariance can be stated.

    r = ( (project(T_t X) - x_t) / sigma_px,  (log z(T_t X) - log d_t(x_t) - B(x_t) a_t) / sigma_log )

T_t is world-to-camera, d_t the predicted depth, B a bilinear grid of log corrections (one node: a scale of the frame).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from geometrycrafter.poses.block_band import BlockBand, Factors
from geometrycrafter.poses.tracks import Tracks

Array = np.ndarray


@dataclass(frozen=True)
class Grid:
    """A bilinear grid of corrections over the picture, nodes at its corners."""

    rows: int = 1
    columns: int = 1

    @property
    def nodes(self) -> int:
        return self.rows * self.columns

    def weights(self, xy: Array, height: int, width: int) -> Array:
        """What each node counts at pixels ``[N, 2]``: ``[N, nodes]``, of sum 1."""
        along = [
            _hat(xy[:, axis] / max(side - 1, 1) * (count - 1), count)
            for axis, side, count in ((1, height, self.rows), (0, width, self.columns))
        ]
        return (along[0][:, :, None] * along[1][:, None, :]).reshape(len(xy), -1)

    def roughness(self) -> Array:
        """``[nodes, nodes]``, the quadratic form of second differences and of twist: zero for planes."""
        rows = []
        at = np.arange(self.nodes).reshape(self.rows, self.columns)
        for line in [*at, *at.T]:
            for a, b, c in zip(line, line[1:], line[2:]):
                rows.append({a: 1.0, b: -2.0, c: 1.0})
        for i in range(self.rows - 1):
            for j in range(self.columns - 1):
                rows.append({at[i, j]: 1.0, at[i, j + 1]: -1.0, at[i + 1, j]: -1.0, at[i + 1, j + 1]: 1.0})
        d = np.zeros((len(rows), self.nodes))
        for r, row in enumerate(rows):
            for c, v in row.items():
                d[r, c] = v
        return d.T @ d


def _hat(at: Array, count: int) -> Array:
    return np.maximum(0.0, 1 - np.abs(at.clip(0, count - 1)[:, None] - np.arange(count)))


@dataclass
class State:
    """What is solved for."""

    rotation: Array
    """``[T, 3, 3]`` world-to-camera."""
    translation: Array
    """``[T, 3]``."""
    points: Array
    """``[P, 3]`` in the world."""
    correction: Array
    """``[T, nodes]``, added to the log of predicted depth."""
    focal: float = 0.0
    """Log factor on the focal length."""


@dataclass
class Problem:
    """What is known."""

    tracks: Tracks
    log_depth: Array
    """``[N]`` of each observation; NaN where it is unknown."""
    focal: Array
    """``[2]`` pixels."""
    centre: Array
    """``[2]`` pixels."""
    size: tuple[int, int]
    frames: int
    grid: Grid = field(default_factory=Grid)
    sigma_px: float = 0.7
    sigma_log: float = 0.05
    sigma_scale: float = 0.3
    """Of a correction's mean over the clip."""
    sigma_drift: float = 0.03
    """Of the change of corrections between neighbouring frames."""
    sigma_rough: float = 0.3
    sigma_focal: float = 0.0
    """Of the log focal length; 0 keeps it."""
    span: int = 36
    """Frames that a track ties together at most."""

    def __post_init__(self) -> None:
        self.tracks = self.tracks  # cut by the caller


class Bundle:
    """Levenberg-Marquardt on a problem."""

    def __init__(self, problem: Problem):
        self.p = problem
        tr = problem.tracks
        self.basis = problem.grid.weights(tr.xy, *problem.size)  # [N, nodes]
        self.has_depth = np.isfinite(problem.log_depth)
        self.log_depth = np.where(self.has_depth, problem.log_depth, 0.0)
        self.b = 6 + problem.grid.nodes
        self.gate = np.ones(len(tr))
        start = np.searchsorted(tr.track, np.arange(tr.count + 1))
        self.start = start
        self.first = tr.frame[start[:-1]]
        spans = tr.frame[start[1:] - 1] - self.first
        self.band = int(max(spans.max(initial=0) + 1, 2))
        self.prior, self.drift = self._priors()

    def _priors(self) -> tuple[Array, Array]:
        p, n = self.p, self.p.grid.nodes
        drift = np.eye(n) / p.sigma_drift**2 / n
        own = np.ones((n, n)) / (n * n) / p.sigma_scale**2 / max(p.frames, 1) + np.eye(n) * 1e-6
        own += p.grid.roughness() / p.sigma_rough**2 + 0 * own
        return own, drift

    # -- residuals ---------------------------------------------------------------------------------------------------
    def residuals(self, s: State) -> tuple[Array, Array, Array]:
        """``[N, 2]`` and ``[N]`` in sigmas, and the points in camera axes ``[N, 3]``."""
        tr, p = self.p.tracks, self.p
        x = np.einsum("nij,nj->ni", s.rotation[tr.frame], s.points[tr.track]) + s.translation[tr.frame]
        z = np.maximum(x[:, 2], 1e-6)
        f = p.focal * np.exp(s.focal)
        r_px = (f * x[:, :2] / z[:, None] + p.centre - tr.xy) / p.sigma_px
        a = np.einsum("nk,nk->n", self.basis, s.correction[tr.frame])
        r_d = np.where(self.has_depth, (np.log(z) - self.log_depth - a) / p.sigma_log, 0.0)
        behind = x[:, 2] <= 1e-6
        r_px[behind] = 100.0
        return r_px * self.gate[:, None], r_d * self.gate, x

    def cost(self, s: State, width: float) -> float:
        """Half the robust sum of squares with the priors."""
        r_px, r_d, _ = self.residuals(s)
        w2 = width * width
        rho = w2 * (np.log1p((r_px**2).sum(1) / w2) + np.log1p(r_d**2 / w2))
        return 0.5 * float(rho.sum()) + self._prior_cost(s)

    def _prior_cost(self, s: State) -> float:
        a = s.correction
        d = np.diff(a, axis=0)
        out = 0.5 * float(np.einsum("ti,ij,tj->", a, self.prior, a) + np.einsum("ti,ij,tj->", d, self.drift, d))
        if self.p.sigma_focal:
            out += 0.5 * (s.focal / self.p.sigma_focal) ** 2
        return out

    # -- normal equations --------------------------------------------------------------------------------------------
    def _linear(self, s: State, width: float):
        """Weighted residuals ``[N, 3]`` and their Jacobians by camera ``[N, 3, b]``, point ``[N, 3, 3]`` and focal."""
        p, tr = self.p, self.p.tracks
        r_px, r_d, x = self.residuals(s)
        w2 = width * width
        w_px = 1 / np.sqrt(1 + (r_px**2).sum(1) / w2)
        w_px[x[:, 2] <= 1e-6] = 0
        w_px *= self.gate
        w_d = np.where(self.has_depth, 1 / np.sqrt(1 + r_d**2 / w2), 0.0) * self.gate
        z = np.maximum(x[:, 2], 1e-6)
        f = p.focal * np.exp(s.focal)
        n = len(tr)
        dx = np.zeros((n, 3, 3))
        dx[:, 0, 0] = f[0] / z
        dx[:, 0, 2] = -f[0] * x[:, 0] / z**2
        dx[:, 1, 1] = f[1] / z
        dx[:, 1, 2] = -f[1] * x[:, 1] / z**2
        dx[:, :2] *= (w_px / p.sigma_px)[:, None, None]
        dx[:, 2, 2] = w_d / p.sigma_log / z
        cam = np.zeros((n, 3, self.b))
        cam[:, :, 3:6] = dx
        # d(exp(w) x) = w x x = -[x]_x w
        cam[:, :, 0] = dx[:, :, 2] * x[:, None, 1] - dx[:, :, 1] * x[:, None, 2]
        cam[:, :, 0] *= 1
        cam[:, :, 0], cam[:, :, 1], cam[:, :, 2] = (
            dx[:, :, 2] * x[:, None, 1] - dx[:, :, 1] * x[:, None, 2],
            dx[:, :, 0] * x[:, None, 2] - dx[:, :, 2] * x[:, None, 0],
            dx[:, :, 1] * x[:, None, 0] - dx[:, :, 0] * x[:, None, 1],
        )
        cam[:, 2, 6:] = -self.basis * (w_d / p.sigma_log)[:, None]
        point = dx @ s.rotation[tr.frame]
        r = np.concatenate([r_px * w_px[:, None], (r_d * w_d)[:, None]], 1)
        focal = np.zeros((n, 3))
        if p.sigma_focal:
            focal[:, :2] = f * x[:, :2] / z[:, None] * (w_px / p.sigma_px)[:, None]
        return r, cam, point, focal

    def _normal(self, s: State, width: float, damping: float):
        p, tr, b = self.p, self.p.tracks, self.b
        r, cam, point, focal = self._linear(s, width)
        t = p.frames
        matrix = BlockBand(t, b, self.band)
        g = np.zeros((t, b))
        own = np.zeros((t, b, b))
        order = np.argsort(tr.frame, kind="stable")
        edges = np.searchsorted(tr.frame[order], np.arange(t + 1))
        cross = np.zeros((t, b))
        for f in range(t):
            rows = order[edges[f] : edges[f + 1]]
            j = cam[rows].reshape(-1, b)
            own[f] = j.T @ j
            g[f] = -j.T @ r[rows].ravel()
            cross[f] = j.T @ focal[rows].ravel()
        # priors
        a = s.correction
        own[:, 6:, 6:] += self.prior
        g[:, 6:] -= a @ self.prior
        d = np.diff(a, axis=0) @ self.drift
        own[1:, 6:, 6:] += self.drift
        own[:-1, 6:, 6:] += self.drift
        g[1:, 6:] -= d
        g[:-1, 6:] += d
        own[0, :6, :6] += np.eye(6) * 1e12  # the world is the first camera's
        matrix.add_frames(own)
        if self.b > 6:
            between = np.zeros((b, b))
            between[6:, 6:] = -self.drift
            for f in range(1, t):
                matrix.add_between(f, f - 1, between)
        h_focal = float((focal**2).sum()) + (1 / p.sigma_focal**2 if p.sigma_focal else 0)
        g_focal = -float((focal * r).sum()) - (s.focal / p.sigma_focal**2 if p.sigma_focal else 0)
        # points
        starts = self.start[:-1]
        v = np.add.reduceat(np.einsum("nij,nik->njk", point, point), starts)
        gp = -np.add.reduceat(np.einsum("nij,ni->nj", point, r), starts)
        v += np.eye(3) * (damping * np.einsum("pii->p", v) / 3 + 1e-9)[:, None, None]
        inv_l = np.linalg.inv(np.linalg.cholesky(v))  # [P, 3, 3]
        w = np.einsum("nij,nik->njk", cam, point)  # [N, b, 3]
        y = w @ inv_l[tr.track].transpose(0, 2, 1)  # [N, b, 3]
        u = np.einsum("pij,pj->pi", inv_l, gp)
        wf = np.add.reduceat(np.einsum("ni,nik->nk", focal, point), starts)
        yf = np.einsum("pij,pj->pi", inv_l, wf)
        np.subtract.at(g, tr.frame, np.einsum("njk,nk->nj", y, u[tr.track]))
        np.subtract.at(cross, tr.frame, np.einsum("njk,nk->nj", y, yf[tr.track]))
        h_focal -= float((yf**2).sum())
        g_focal -= float((yf * u).sum())
        for k, tracks in self._chunks(matrix.group):
            rows = np.concatenate([np.arange(self.start[i], self.start[i + 1]) for i in tracks])
            dense = np.zeros((2 * matrix.group, b, len(tracks), 3))
            local = np.searchsorted(tracks, tr.track[rows])
            dense[tr.frame[rows] - k * matrix.group, :, local] = y[rows]
            dense = dense.reshape(2 * matrix.group * b, -1)
            matrix.add(k, -(dense @ dense.T))
        return matrix, g.ravel(), cross.ravel(), h_focal, g_focal, (inv_l, gp, w, wf)

    def _chunks(self, group: int, most: int = 600):
        g = self.first // group
        for k in np.unique(g):
            tracks = np.flatnonzero(g == k)
            for i in range(0, len(tracks), most):
                yield int(k), tracks[i : i + most]

    def step(self, s: State, width: float, damping: float) -> State:
        p, tr = self.p, self.p.tracks
        matrix, g, cross, h_focal, g_focal, (inv_l, gp, w, wf) = self._normal(s, width, damping)
        factors = matrix.factorise(damping)
        d_focal = 0.0
        if p.sigma_focal:
            both = factors.solve(np.stack([g, cross], 1))
            d_focal = (g_focal - cross @ both[:, 0]) / (h_focal * (1 + damping) - cross @ both[:, 1])
            d = both[:, 0] - both[:, 1] * d_focal
        else:
            d = factors.solve(g)
        d = d.reshape(p.frames, self.b)
        back = gp - np.add.reduceat(np.einsum("njk,nj->nk", w, d[tr.frame]), self.start[:-1]) - wf * d_focal
        dp = np.einsum("pji,pjk,pk->pi", inv_l, inv_l, back)
        turn = exp_rotation(d[:, :3])
        return State(
            rotation=turn @ s.rotation,
            translation=np.einsum("tij,tj->ti", turn, s.translation) + d[:, 3:6],
            points=s.points + dp,
            correction=s.correction + d[:, 6:],
            focal=s.focal + d_focal,
        )

    def solve(self, s: State, width: float = 3.0, iterations: int = 20, tolerance: float = 1e-5) -> State:
        """Minimise; the robust loss is Cauchy's, of so many sigmas."""
        damping, cost = 1e-4, self.cost(s, width)
        self.history = [cost]
        for _ in range(iterations):
            for _ in range(6):
                try:
                    tried = self.step(s, width, damping)
                    new = self.cost(tried, width)
                except np.linalg.LinAlgError:
                    new = np.inf
                if new < cost:
                    break
                damping = max(damping * 10, 1e-6)
            else:
                break
            better, s, cost = cost - new, tried, new
            damping = max(damping / 5, 1e-9)
            self.history.append(cost)
            if better < tolerance * cost:
                break
        return s


def exp_rotation(w: Array) -> Array:
    """Rotations ``[..., 3, 3]`` of rotation vectors ``[..., 3]``."""
    angle = np.linalg.norm(w, axis=-1)[..., None, None]
    safe = np.maximum(angle, 1e-12)
    k = np.zeros((*w.shape[:-1], 3, 3))
    k[..., 0, 1], k[..., 0, 2], k[..., 1, 2] = -w[..., 2], w[..., 1], -w[..., 0]
    k -= k.swapaxes(-1, -2).copy()
    return np.eye(3) + np.sin(angle) / safe * k + (1 - np.cos(angle)) / safe**2 * (k @ k)
