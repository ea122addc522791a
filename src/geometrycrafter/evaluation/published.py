"""Figures that the paper prints (tables 2 and 3), to stand beside measured ones."""

from __future__ import annotations

SETS = ("gmu-kitchens", "monkaa", "sintel", "scannet", "ddad", "kitti", "diode")
_POINTS = {
    "GeometryCrafter G": ("8.52/94.3", "20.5/75.5", "25.6/64.9", "9.16/96.0", "15.0/90.6", "6.34/98.7", "13.1/92.7"),
    "GeometryCrafter D": ("8.88/94.3", "18.8/79.7", "25.9/62.8", "8.92/96.4", "15.6/89.0", "6.73/98.4", "13.0/92.8"),
    "MoGe": ("21.3/69.1", "28.0/58.1", "31.2/52.0", "13.5/88.0", "16.0/85.5", "8.51/95.7", "13.5/93.5"),
    "UniDepth": ("9.96/94.1", "23.0/65.6", "30.9/50.6", "6.54/98.4", "23.0/64.9", "4.24/99.3", "16.1/88.0"),
}
_DEPTH = {
    "GeometryCrafter G": ("8.03/94.0", "13.0/80.5", "16.9/73.2", "7.57/95.9", "12.7/87.5", "5.25/98.3", "7.03/96.1"),
    "DepthCrafter": ("13.8/80.6", "23.4/73.8", "30.5/67.0", "11.3/87.3", "15.6/80.7", "9.96/89.6", "12.6/86.2"),
}


def published(protocol: str) -> dict[str, dict[str, float]]:
    """By method: ``point_rel``, ``point_inlier``, ``affine_rel`` and ``affine_inlier``, fractions; of the paper's
    protocols alone."""
    data = protocol.removeprefix("paper-")
    if data == protocol or data not in SETS:
        return {}
    column = SETS.index(data)
    rows: dict[str, dict[str, float]] = {}
    for table, names in ((_POINTS, ("point_rel", "point_inlier")), (_DEPTH, ("affine_rel", "affine_inlier"))):
        for method, cells in table.items():
            values = (float(x) / 100 for x in cells[column].split("/"))
            rows.setdefault(method, {}).update(zip(names, values, strict=True))
    return rows
