"""Colours by closed form: what code values of a video mean as sRGB, computed without any of ffmpeg's code."""

from __future__ import annotations

import numpy as np

WEIGHTS = {"601": (0.299, 0.114), "709": (0.2126, 0.0722), "2020": (0.2627, 0.0593)}
"""Red's and blue's weight in luma (BT.601, BT.709, BT.2020)."""
REFERENCE_WHITE = 203.0
"""Nits of diffuse white (BT.2408)."""
KNEE = 0.5
CURVE = "mobius with its knee at 0.5, 203 nits being 1, on the largest of R, G, B; BT.2020 to BT.709 primaries; sRGB's"

BT2020_TO_BT709 = np.array(
    [[1.660491, -0.587641, -0.072850], [-0.124550, 1.132900, -0.008349], [-0.018151, -0.100579, 1.118730]]
)


def codes(rgb: tuple[float, float, float], matrix: str, full: bool = False, bits: int = 8) -> tuple[int, int, int]:
    """The nearest Y, Cb, Cr code values of an R, G, B in [0, 1]."""
    if matrix == "ycgco":  # H.273, equations 71 to 73
        luma = rgb[1] / 2 + (rgb[0] + rgb[2]) / 4
        differences = rgb[1] / 2 - (rgb[0] + rgb[2]) / 4, (rgb[0] - rgb[2]) / 2
    else:
        red, blue = WEIGHTS[matrix]
        luma = red * rgb[0] + (1 - red - blue) * rgb[1] + blue * rgb[2]
        differences = (rgb[2] - luma) / (2 * (1 - blue)), (rgb[0] - luma) / (2 * (1 - red))
    unit, top = 2 ** (bits - 8), 2**bits - 1
    y = luma * top if full else (16 + 219 * luma) * unit
    chroma = [128 * unit + d * (top if full else 224 * unit) for d in differences]
    return tuple(int(np.clip(round(v), 0, top)) for v in (y, *chroma))  # type: ignore[return-value]


def colour(code: tuple[int, int, int], matrix: str, full: bool = False, bits: int = 8) -> np.ndarray:
    """R, G, B ``[3]`` of code values, not clipped: 0 is black, 1 is white."""
    unit, top = 2 ** (bits - 8), 2**bits - 1
    luma = code[0] / top if full else (code[0] / unit - 16) / 219
    cb, cr = ((c - 128 * unit) / (top if full else 224 * unit) for c in code[1:])
    if matrix == "ycgco":
        return np.array([luma - cb + cr, luma + cb, luma - cb - cr])
    red, blue = WEIGHTS[matrix]
    r, b = luma + 2 * (1 - red) * cr, luma + 2 * (1 - blue) * cb
    return np.array([r, (luma - red * r - blue * b) / (1 - red - blue), b])


def pq(nits: float | np.ndarray) -> np.ndarray:
    """Code value in [0, 1] of a light in nits (SMPTE ST 2084, inverse EOTF)."""
    y = (np.maximum(nits, 0) / 1e4) ** 0.1593017578125
    return ((0.8359375 + 18.8515625 * y) / (1 + 18.6875 * y)) ** 78.84375


def nits(code: float | np.ndarray) -> np.ndarray:
    """Light in nits of a PQ code value (SMPTE ST 2084, EOTF)."""
    p = np.maximum(code, 0) ** (1 / 78.84375)
    return 1e4 * (np.maximum(p - 0.8359375, 0) / (18.8515625 - 18.6875 * p)) ** (1 / 0.1593017578125)


def hlg_nits(signal: np.ndarray, peak: float = 1000.0) -> np.ndarray:
    """Light in nits ``[3]`` of an HLG R'G'B' signal ``[3]`` on a display of ``peak`` nits (BT.2100, gamma 1.2)."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    scene = np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - c) / a) + b) / 12)
    return peak * scene**1.2


def tone_mapped(light: np.ndarray, peak: float = 1000.0) -> np.ndarray:
    """Display colour ``[3]`` in [0, 1] of BT.2020 light in nits, by :data:`CURVE`.

    The curve is the line of slope 1 up to the knee k, and from there on (a x + b) / (x + c), which meets it there with
    the same slope and reaches 1 at the peak.
    """
    level, top = max(light.max(), 1e-6) / REFERENCE_WHITE, peak / REFERENCE_WHITE
    # Three conditions: (a k + b) / (k + c) = k; a c - b = (k + c)^2; (a top + b) / (top + c) = 1.
    k = KNEE
    c = (k * k - 2 * k * top + top) / (top - 1)
    a = (k + c) ** 2 / (k + c) + k
    b = k * (k + c) - a * k
    shown = level if level <= k else (a * level + b) / (level + c)
    return srgb(np.clip(BT2020_TO_BT709 @ (light / REFERENCE_WHITE * shown / level), 0, 1))


def srgb(linear: np.ndarray | float) -> np.ndarray:
    """sRGB's curve (IEC 61966-2-1) over linear light in [0, 1]."""
    linear = np.asarray(linear, np.float64)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * np.maximum(linear, 0) ** (1 / 2.4) - 0.055)
