"""The losses on point maps: those of the paper's VAE (eqs. 1 to 7), and on what a UNet's latents decode to.

The UNet's own (eq. 8) stands beside its preconditioning, in ``diffusion/objectives.py``.

Maps are ``[B*T, 1, H, W]``: log depth (natural logarithm, the clip's mean depth being 1), theta_diag (tangent of half
the diagonal field of view), a mask that is True where a pixel has a point. Every term is a mean, so that its size does
not depend on the picture's; a term without a valid pixel is zero and has no gradient.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from geometrycrafter.geometry.cameras import half_field_grid, half_field_of_theta
from geometrycrafter.geometry.normals import eroded, normals_of
from geometrycrafter.networks.point_map_vae import DecodedPointMap
from geometrycrafter.settings import NotNegative, Settings


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean over True pixels; zero, without gradient, where there is none. What lies outside may be NaN.

    Args:
        values: ``[...]``.
        mask: bool, of the same shape.
    """
    return torch.where(mask, values, 0.0).sum() / mask.sum().clamp_min(1)


def reconstruction(prediction: Tensor, truth: Tensor, mask: Tensor) -> Tensor:
    """Mean absolute error over valid pixels, of log depth or of theta_diag (eq. 1).

    Args:
        prediction: ``[N, 1, H, W]``.
        truth: ``[N, 1, H, W]``.
        mask: bool, ``[N, 1, H, W]``.
    """
    return masked_mean((prediction - truth).abs(), mask)


def point_map(log_depth: Tensor, theta_diag: Tensor) -> Tensor:
    """Point map ``[N, 3, H, W]`` that log depth and theta_diag ``[N, 1, H, W]`` describe: x right, y down, z forward.

    Its unit is that of the depth: the clip's mean.
    """
    height, width = log_depth.shape[-2:]
    field = half_field_of_theta(theta_diag[:, 0], height, width)  # [N, H, W, 2]
    rays = field * half_field_grid(height, width, field)
    rays = torch.cat([rays, torch.ones_like(rays[..., :1])], dim=-1).permute(0, 3, 1, 2)
    return log_depth.exp() * rays


def normals(prediction: Tensor, theta_prediction: Tensor, truth: Tensor, theta: Tensor, mask: Tensor) -> Tensor:
    """One minus the cosine between surface normals, where the 3x3 neighbourhood is valid (eq. 2).

    Args:
        prediction: log depth, ``[N, 1, H, W]``.
        theta_prediction: its theta_diag, ``[N, 1, H, W]``.
        truth: log depth, ``[N, 1, H, W]``.
        theta: its theta_diag, ``[N, 1, H, W]``.
        mask: valid pixels, ``[N, 1, H, W]``.
    """
    inside = eroded(mask)
    # Depth outside the mask is anything; a constant keeps its exponential and the gradient finite.
    safe, true = (torch.where(mask, x, 0.0) for x in (prediction, truth))
    cosine = (normals_of(point_map(safe, theta_prediction)) * normals_of(point_map(true, theta))).sum(1, keepdim=True)
    return masked_mean(1 - cosine, inside)


def edges(prediction: Tensor, truth: Tensor, mask: Tensor) -> Tensor:
    """How steps of log depth between neighbours differ, most where true depth jumps; what is smooth counts little.

    Not in the paper. A step is across or down; true steps beyond 5 % weigh up to ten times as much as none.

    Args:
        prediction: log depth, ``[N, 1, H, W]``.
        truth: log depth, ``[N, 1, H, W]``.
        mask: valid pixels, ``[N, 1, H, W]``.
    """
    total, weights = prediction.new_zeros(()), prediction.new_zeros(())
    for dim in (-1, -2):
        size = mask.shape[dim] - 1
        # Depth outside the mask is anything; a constant keeps the gradient finite.
        (a, b), (true_a, true_b) = (
            (x.narrow(dim, 1, size), x.narrow(dim, 0, size))
            for x in (torch.where(mask, v, 0.0) for v in (prediction, truth))
        )
        both = mask.narrow(dim, 1, size) & mask.narrow(dim, 0, size)
        true_step = true_a - true_b
        weight = both * (0.1 + 0.9 * (true_step.abs() / 0.05).clamp_max(1))
        total = total + (weight * (a - b - true_step).abs()).sum()
        weights = weights + weight.sum()
    return total / weights.clamp_min(1e-6)


def drift(prediction: Tensor, truth: Tensor, mask: Tensor) -> Tensor:
    """How far frames of a clip are from the clip's own scale: each frame's mean error of log depth against their mean.

    Not in the paper. One scale for the clip costs nothing; a frame's shape hardly anything.

    Args:
        prediction: log depth of a clip's frames, ``[T, 1, H, W]``.
        truth: log depth, ``[T, 1, H, W]``.
        mask: valid pixels, ``[T, 1, H, W]``.
    """
    seen = mask.flatten(1).any(dim=1)
    error = torch.where(mask, prediction - truth, 0.0).flatten(1).sum(1) / mask.flatten(1).sum(1).clamp_min(1)
    middle = masked_mean(error, seen)
    return masked_mean((error - middle).abs(), seen)


def multi_scale_depth(prediction: Tensor, truth: Tensor, mask: Tensor, alphas: tuple[int, ...] = (4, 16, 64)) -> Tensor:
    """Local shape of log depth at several scales (eq. 3).

    The picture is cut into alpha x alpha patches; in each, both maps are taken relative to their mean over the
    patch's valid pixels, and compared. Adding a constant to a patch, as a wrong local scale would, costs nothing.

    Args:
        prediction: log depth, ``[N, 1, H, W]``.
        truth: log depth, ``[N, 1, H, W]``.
        mask: valid pixels, ``[N, 1, H, W]``.
        alphas: patches along each side.

    Returns:
        the mean over valid pixels, averaged over the scales; the equation is their sum, three times that.
    """
    error = torch.where(mask, prediction - truth, 0.0)
    height, width = error.shape[-2:]
    valid = mask.to(error.dtype)
    terms = []
    for alpha in alphas:
        size = (max(1, -(-height // alpha)), max(1, -(-width // alpha)))
        pad = (0, -width % size[1], 0, -height % size[0])
        total, count = (F.avg_pool2d(F.pad(x, pad), size) for x in (error, valid))
        mean = total / count.clamp_min(1e-6)
        mean = mean.repeat_interleave(size[0], -2).repeat_interleave(size[1], -1)[..., :height, :width]
        terms.append(masked_mean((error - mean).abs(), mask))
    return torch.stack(terms).mean()


def relative_points(prediction: Tensor, theta_prediction: Tensor, truth: Tensor, theta: Tensor, mask: Tensor) -> Tensor:
    """Rel^p as point maps are judged by it: with one camera for all frames, and the scale that fits them best.

    No loss of the paper's; MoGe (Wang et al. 2025) trains on one of the kind, with a shift as well.

    Args:
        prediction: log depth of a clip's frames, ``[T, 1, H, W]``.
        theta_prediction: its theta_diag, ``[T, 1, H, W]``.
        truth: log depth, ``[T, 1, H, W]``.
        theta: its theta_diag, ``[T, 1, H, W]``.
        mask: valid pixels, ``[T, 1, H, W]``.
    """
    # Depth outside the mask is anything; a constant keeps its exponential and the gradient finite.
    safe, true = (torch.where(mask, x, 0.0) for x in (prediction, truth))
    camera = masked_mean(theta_prediction, mask).expand_as(theta_prediction)
    a, b = (torch.where(mask, point_map(*x), 0.0) for x in ((safe, camera), (true, theta)))
    scale = (a * b).sum() / (a * a).sum().clamp_min(1e-12)
    error = (scale * a - b).square().sum(dim=1, keepdim=True).clamp_min(1e-12).sqrt()
    return masked_mean(error / b.norm(dim=1, keepdim=True).clamp_min(1e-6), mask)


def identity(disparity: Tensor, decoded_by_svd: Tensor) -> Tensor:
    """How far the frozen SVD decoder is from giving back the disparity that was encoded (eq. 5).

    Args:
        disparity: ``[N, 1, H, W]`` in [-1, 1], the SVD encoder's input.
        decoded_by_svd: ``[N, 3, H, W]``, its decoder's picture of the point map's latents.
    """
    return F.mse_loss(decoded_by_svd, disparity.expand_as(decoded_by_svd))


def validity(mask_logit: Tensor, mask: Tensor, known: Tensor | None = None) -> Tensor:
    """Squared error of the mask head, whose targets are 1 and -1 (eq. 6); its sign is the mask.

    Args:
        mask_logit: what the decoder says, ``[N, 1, H, W]``.
        mask: where there is a surface, ``[N, 1, H, W]``.
        known: ``[N, 1, H, W]``, where that is known, as it is not in the holes of a depth sensor; None:
            everywhere, as the paper has it.
    """
    error = (mask_logit - (mask.to(mask_logit.dtype) * 2 - 1)) ** 2
    return error.mean() if known is None else masked_mean(error, known)


@dataclass(frozen=True)
class VAEWeights(Settings):
    """Weights of the terms in the VAE's total (eq. 7); 0 leaves a term out."""

    depth: NotNegative = 1.0
    theta: NotNegative = 1.0
    normals: NotNegative = 0.2
    multi_scale: NotNegative = 1.0
    """Of the mean over three scales: 3 gives their sum, which is eq. 3."""
    identity: NotNegative = 1.0
    mask: NotNegative = 1.0
    edges: NotNegative = 0.0
    """Of steps between neighbours, most where depth jumps; not in the paper."""
    distillation: NotNegative = 0.0
    """Of the same terms against what the hub's own decoder makes of the same latents; for a light decoder."""
    steadiness: NotNegative = 0.0
    """Of how the error of log depth changes from frame to frame."""


_OF_TRUTH: dict[str, float] = {"identity": 0.0, "distillation": 0.0, "steadiness": 0.0}
"""Terms that a distillation hasn't."""


def distillation(decoded: DecodedPointMap, taught: DecodedPointMap, mask: Tensor, weights: VAEWeights) -> Tensor:
    """The paper's losses, each times its weight, with another decoder's maps in the truth's place.

    Args:
        decoded: what is learned, ``[N, 1, H, W]`` each.
        taught: what the other makes of the same latents.
        mask: where there is a surface in truth, ``[N, 1, H, W]``; depth is compared where either says so.
        weights: of the terms; that of :func:`identity` counts as 0.
    """
    seen = taught.mask_logit > 0
    both = seen | mask
    # Where neither sees a surface the other's depth may be anything, but it is finite.
    shapes = vae_terms(decoded, taught.log_depth, taught.theta_diag, both, replace(weights, mask=0.0, **_OF_TRUTH))
    terms = [*shapes.values(), weights.mask * validity(decoded.mask_logit, seen)]
    return torch.stack(terms).sum()


def steadiness(log_depth: Tensor, truth: Tensor, mask: Tensor) -> Tensor:
    """How much the error of a clip's log depth changes from a frame to the next, where both are valid.

    Not in the paper. An error that stays costs nothing. A clip of one frame has none.

    Args:
        log_depth: ``[T, 1, H, W]``.
        truth: ``[T, 1, H, W]``.
        mask: valid pixels, ``[T, 1, H, W]``.
    """
    error = torch.where(mask, log_depth - truth, 0.0)
    return masked_mean((error[1:] - error[:-1]).abs(), mask[1:] & mask[:-1])


def vae_terms(
    decoded: DecodedPointMap,
    log_depth: Tensor,
    theta_diag: Tensor,
    mask: Tensor,
    weights: VAEWeights,
    identity_pictures: tuple[Tensor, Tensor] | None = None,
    known: Tensor | None = None,
    taught: DecodedPointMap | None = None,
) -> dict[str, Tensor]:
    """All terms of the VAE's loss, each times its weight; their sum is the total (eq. 4, of the first four, in eq. 7).

    Args:
        decoded: what the decoder says.
        log_depth: truth, ``[N, 1, H, W]``.
        theta_diag: truth, ``[N, 1, H, W]``, the same for all pixels of a frame.
        mask: valid pixels, ``[N, 1, H, W]``.
        weights: of the terms; a term of weight zero is not computed.
        identity_pictures: disparity and the frozen SVD decoder's picture of the latents; None leaves the term out.
        known: where it is known whether a pixel is valid; None: everywhere.
        taught: what the decoder that is learned from says; None leaves the term out.
    """
    terms = {}
    if weights.depth:
        terms["depth"] = weights.depth * reconstruction(decoded.log_depth, log_depth, mask)
    if weights.theta:
        terms["theta"] = weights.theta * reconstruction(decoded.theta_diag, theta_diag, mask)
    if weights.normals:
        terms["normals"] = weights.normals * normals(decoded.log_depth, decoded.theta_diag, log_depth, theta_diag, mask)
    if weights.multi_scale:
        terms["multi_scale"] = weights.multi_scale * multi_scale_depth(decoded.log_depth, log_depth, mask)
    if weights.edges:
        terms["edges"] = weights.edges * edges(decoded.log_depth, log_depth, mask)
    if weights.mask:
        terms["mask"] = weights.mask * validity(decoded.mask_logit, mask, known)
    if weights.identity and identity_pictures is not None:
        terms["identity"] = weights.identity * identity(*identity_pictures)
    if weights.steadiness:
        terms["steadiness"] = weights.steadiness * steadiness(decoded.log_depth, log_depth, mask)
    if weights.distillation and taught is not None:
        terms["distillation"] = weights.distillation * distillation(decoded, taught, mask, weights)
    return terms


def temporal_difference(latents: Tensor, clean: Tensor) -> Tensor:
    """Mean square of how the error changes from one frame to the next; an error that stays costs nothing.

    Not in the paper. In depth this is the temporal gradient matching of Video Depth Anything (Chen et al. 2025, eq. 3).

    Args:
        latents: ``[B, T, ...]``, T at least 2.
        clean: what they should be.
    """
    error = latents - clean
    return (error[:, 1:] - error[:, :-1]).square().mean()
