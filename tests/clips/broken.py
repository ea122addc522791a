"""Files of which a part is missing: told or refused by whatever the container says, never read in silence."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image

from clips.case import Case
from clips.making import Coding, add, cut, encode, need, packets
from clips.marks import picture, pictures
from clips.streams import ALL, INTRA, TWENTY, cut_after

CUT = ("breaks off", "cut short")
WMV = Coding("wmv2", options={"g": "1", "b": "4000000"})
FLV = Coding("flv", options={"g": "1", "b": "4000000"})
VP8 = Coding("libvpx", options={"g": "1", "crf": "10", "b": "2M", "lag-in-frames": "0"})
MPEG2 = Coding("mpeg2video", rate=25, options={"g": "1"})
PROGRAM = Coding("mpeg1video", rate=25, options={"bf": "2"})
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


def shortened(name: str, coding: Coding, share: float, count: int = 20, size: tuple[int, int] = (64, 96)):
    """A maker of the first part of a file of so many frames."""
    return lambda folder: cut(encode(folder / name, pictures(count, *size), coding), share)


def halved(name: str, several: bool = False, size: tuple[int, int] = (64, 96), **options: Any):
    """A maker of the first half of a picture, or of several in one file."""

    def make(folder: Path) -> Path:
        first, *others = (Image.fromarray(shown) for shown in pictures(8, *size))
        first.save(folder / name, **({"save_all": True, "append_images": others} if several else {}), **options)
        return cut(folder / name, 0.5)

    return make


def unmarked(folder: Path) -> Path:
    """A JPEG that lacks its mark of the end alone, as some cameras write them."""
    Image.fromarray(picture(0)).save(folder / "p.jpg", quality=95)
    data = (folder / "p.jpg").read_bytes()
    (folder / "p.jpg").write_bytes(data[:-2])
    return folder / "p.jpg"


def outlasted(name: str, coding: Coding, voice: str):
    """A maker of a clip of 1.2 seconds whose sound lasts for three."""

    def make(folder: Path) -> Path:
        need(voice)
        with av.open(str(folder / name), "w") as container:
            track = container.add_stream(voice, rate=44100)
            track.layout = "mono"
            add(container, coding, pictures(12))
            for n in range(30):
                frame = av.AudioFrame.from_ndarray(np.zeros((1, 4410), np.int16), format="s16", layout="mono")
                frame.sample_rate, frame.pts, frame.time_base = 44100, 4410 * n, Fraction(1, 44100)
                container.mux(track.encode(frame))
            container.mux(track.encode(None))
        return folder / name

    return make


def flash(folder: Path) -> Path:
    """A Flash file with a video in it."""
    return encode(folder / "f.swf", pictures(12), Coding("flv", format="swf"))


def joined(coding: Coding):
    """A maker of two transport streams, one after the other."""

    def make(folder: Path) -> Path:
        first = encode(folder / "first.ts", pictures(12), coding).read_bytes()
        (folder / "joined.ts").write_bytes(first + first)
        return folder / "joined.ts"

    return make


def misnumbered(folder: Path) -> Path:
    """A transport stream one packet of which, where frame 27 begins, says that it is of another stream."""
    path = encode(folder / "lossy.ts", pictures(31, 240, 320), replace(INTRA, options={**INTRA.options, "crf": "1"}))
    data = bytearray(path.read_bytes())
    data[packets(path)[27][0] + 2] = 0x46
    path.write_bytes(data)
    return path


def lossy(frame: int, packet: int | None):
    """A maker of a transport stream that has lost one packet of a frame, or all of them (None)."""

    def make(folder: Path) -> Path:
        path = encode(folder / "lossy.ts", pictures(20), INTRA)
        data = path.read_bytes()
        starts = [at for at, _ in packets(path)]
        inside = [
            at for at in range(starts[frame], starts[frame + 1], 188) if (data[at + 1] & 31, data[at + 2]) == (1, 0)
        ]
        lost = inside if packet is None else inside[packet : packet + 1]
        kept = (data[at : at + 188] for at in range(0, len(data), 188) if at not in lost)
        path.write_bytes(b"".join(kept))
        return path

    return make


WITHOUT_7 = TWENTY[:7] + TWENTY[8:]
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
    *(
        Case(f"transport streams of {kind} joined", joined(coding), (*range(12), *range(12)), times=times)
        for kind, coding, times in (
            ("H.264", INTRA, tuple(n / 10 for n in range(24))),
            ("H.264 with B-frames", Coding(), tuple(n / 10 for n in range(24))),
            ("MPEG-2", MPEG2, tuple(n / 25 for n in range(24))),
        )
    ),
    *(
        Case(
            f"transport stream that has lost {what}",
            lossy(7, packet),
            WITHOUT_7,
            times=tuple(n / 10 for n in WITHOUT_7),
            warns=("1 of 20 frames are missing",),
            authority=False,
        )
        for what, packet in (("part of a frame", 1), ("a frame", None))
    ),
    Case(
        "cut MPEG program stream, its last packet holding several frames",
        shortened("cut.mpg", PROGRAM, 0.97, 40, (240, 320)),
        count=40,
        size=(240, 320),
        times=tuple(n / 25 for n in range(40)),
        warns=CUT,
        authority=False,
    ),
    Case("FLV whose sound is longer", outlasted("long.flv", FLV, "aac"), ALL),
    Case("Matroska whose sound is longer", outlasted("long.mkv", INTRA, "aac"), ALL),
    *(
        Case(f"half of a {kind}", halved(f"half.{suffix}", **options), refuses=(f"half.{suffix}",), authority=False)
        for kind, suffix, options in (
            ("JPEG", "jpg", {"size": (240, 320), "quality": 95}),
            ("PNG", "png", {}),
            ("WebP", "webp", {}),
            ("TIFF", "tif", {}),
            ("TIFF of several pages", "tif", {"several": True}),
            ("animated WebP", "webp", {"several": True, "duration": 100}),
            ("animated AVIF", "avif", {"several": True, "duration": 100}),
        )
    ),
    Case("JPEG without its mark of the end", unmarked, (0,), authority=False),
    Case(
        "transport stream with a packet of a stream that isn't there",
        misnumbered,
        (*range(26), *range(28, 31)),  # where 26 ends can't be known
        size=(240, 320),
        times=tuple(n / 10 for n in (*range(26), *range(28, 31))),
        warns=("2 of 31 frames are missing",),
        authority=False,
    ),
    Case("SWF, which marks no keyframes", flash, ALL, authority=False),
)
