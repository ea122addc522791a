"""Files of which a part is missing: told or refused by whatever the container says, never read in silence."""

from __future__ import annotations

from dataclasses import replace

from clips.case import Case
from clips.making import Coding, cut, encode
from clips.marks import pictures
from clips.streams import INTRA, TWENTY, cut_after

CUT = ("breaks off", "cut short")
WMV = Coding("wmv2", options={"g": "1", "b": "4000000"})
FLV = Coding("flv", options={"g": "1", "b": "4000000"})
VP8 = Coding("libvpx", options={"g": "1", "crf": "10", "b": "2M", "lag-in-frames": "0"})
MPEG2 = Coding("mpeg2video", rate=25, options={"g": "1"})
DASH = replace(INTRA, container={"movflags": "dash+global_sidx+frag_keyframe+empty_moov+default_base_moof"})
HALF = {
    "WMV": ("cut.wmv", WMV),
    "FLV": ("cut.flv", FLV),
    "IVF": ("cut.ivf", VP8),
    "MXF": ("cut.mxf", MPEG2),
    "fragmented MP4 with an index": ("cut.mp4", DASH),
    "WebM": ("cut.webm", VP8),
}
"""Containers that say how much the whole is."""
OPEN_ENDED = {
    "TS": ("cut.ts", INTRA),
    "live WebM": ("cut.webm", replace(VP8, container={"live": "1"})),
    "Ogg": ("cut.ogv", VP8),
    "YUV4MPEG": ("cut.y4m", Coding("wrapped_avframe", format="yuv4mpegpipe")),
    "GIF": ("cut.gif", Coding("gif", "rgb8")),
    "fragmented MP4": ("cut.mp4", replace(INTRA, container={"movflags": "frag_keyframe+empty_moov"})),
}
"""Containers of which one can only see that they end in the middle."""


def shortened(name: str, coding: Coding, share: float):
    """A maker of the first part of a file of twenty frames."""
    return lambda folder: cut(encode(folder / name, pictures(20), coding), share)


CASES = (
    *(
        Case(f"whole {kind}", shortened(*made, 1), TWENTY, times=tuple(n / made[1].rate for n in TWENTY))
        for kind, made in {**HALF, **OPEN_ENDED}.items()
    ),
    *(
        Case(f"cut {kind}, half left", shortened(*made, 0.5), refuses=(made[0], "--end"), authority=False)
        for kind, made in HALF.items()
        if kind != "WebM"
    ),
    *(
        Case(f"cut {kind}, half left", cut_after(*made, 10), TWENTY[:10], warns=CUT, authority=False)
        for kind, made in OPEN_ENDED.items()
    ),
    *(
        Case(
            f"cut {kind}, strict",
            cut_after(*made, 10),
            refuses=(made[0], "--end"),
            reading={"strict": True},
            authority=False,
        )
        for kind, made in OPEN_ENDED.items()
    ),
)
