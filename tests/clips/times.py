"""When each frame is shown; and frames that hold two moments."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

from clips.case import Case
from clips.making import Coding, encode
from clips.marks import interlaced, picture, pictures
from clips.streams import clip

TICKS = (0, 1, 2, 5, 6, 10, 11, 12, 20, 21, 23, 24)
"""A phone that slows down in the dark, in tenths of a second."""
SECONDS = tuple(tick / 10 for tick in TICKS)
ALL = tuple(range(12))
EVEN = tuple(n / 10 for n in ALL)
NINETY = Fraction(1, 90000)
MILLI = Fraction(1, 1000)
VARIABLE = Coding(ticks=tuple(100 * t for t in TICKS), tick=MILLI, options={"bf": "0"})
LATE = Coding(ticks=tuple(9000 * (n + 37) for n in ALL), tick=NINETY)
WRAP = Coding(ticks=tuple(2**33 - 45000 + 9000 * n for n in ALL), tick=NINETY, options={"bf": "0"},
              container={"mpegts_copyts": "1"})  # fmt: skip
VP9 = {"crf": "10", "b": "0"}
ILDCT = (1 << 18) | (1 << 29)
"""libavcodec's flags of interlaced transform and motion."""


def joined(*starts: int):
    """A maker of program streams of six frames each, one after the other, whose clocks begin at these seconds."""

    def make(folder: Path) -> Path:
        whole = folder / "joined.mpg"
        with whole.open("wb") as file:
            for number, start in enumerate(starts):
                coding = Coding("mpeg2video", rate=25, ticks=tuple(25 * start + t for t in range(6)))
                some = [picture(6 * number + t) for t in range(6)]
                file.write(encode(folder / f"{number}.mpg", some, coding).read_bytes())
        return whole

    return make


def fields(name: str, coding: Coding, count: int = 6, size: tuple[int, int] = (64, 96)):
    """A maker of a clip whose frames hold two moments each."""
    top = coding.setfield != "bff"
    return lambda folder: encode(folder / name, [interlaced(n, *size, top_first=top) for n in range(count)], coding)


def long_still(folder: Path) -> Path:
    """One frame in a file whose only rate is its clock's, 90,000 a second."""
    return encode(folder / "still.mp4", [picture(9)], Coding(ticks=(0,), tick=NINETY, rate=90000))


TIMES = (
    Case("variable rate in MP4", clip("v.mp4", VARIABLE), ALL, times=SECONDS),
    Case("variable rate in MKV", clip("v.mkv", VARIABLE), ALL, times=SECONDS),
    Case("variable rate in WebM", clip("v.webm", replace(VARIABLE, codec="libvpx-vp9", options=VP9)), ALL,
         times=SECONDS),
    Case("variable rate with B-frames", clip("v.mp4", replace(VARIABLE, options={"bf": "2"})), ALL, times=SECONDS),
    Case("variable rate, every third", clip("v.mp4", VARIABLE), (1, 4, 7, 10), reading={"start": 1, "stride": 3},
         times=(0, 0.5, 1.1, 2.2)),
    Case("variable rate, start and end in seconds", clip("v.mp4", VARIABLE), (3, 4, 5, 6),
         reading={"start_time": 0.3, "end_time": 1.15}, times=(0, 0.1, 0.5, 0.6)),
    Case("variable rate at 5 a second", clip("v.mp4", replace(VARIABLE, ticks=tuple(100 * t for t in TICKS))),
         (0, 2, 2, 4, 4, 5, 7, 7, 7, 7, 8, 9, 11), reading={"fps": 5}, times=tuple(n / 5 for n in range(13))),
    Case("constant rate halved", clip("c.mp4"), (0, 2, 4, 6, 8, 10), reading={"fps": 5},
         times=tuple(n / 5 for n in range(6))),
    Case("constant rate doubled", clip("c.mp4"), tuple(n // 2 for n in range(24)), reading={"fps": 20},
         times=tuple(n / 20 for n in range(24))),
    Case("29.97 a second", clip("n.mp4", Coding(ticks=tuple(1001 * n for n in ALL), tick=Fraction(1, 30000), rate=30)),
         ALL, times=tuple(n * 1001 / 30000 for n in ALL)),
    Case("transport stream that starts late", clip("l.ts", LATE), ALL),
    Case("MP4 that starts late", clip("l.mp4", LATE), ALL),
    Case("MP4 that starts late, first seconds", clip("l.mp4", LATE), (0, 1, 2), reading={"end": 3}),
    Case("late transport stream, seconds from its start", clip("l.ts", LATE), (3, 4, 5, 6),
         reading={"start_time": 0.3, "end_time": 0.7}),
    Case("transport stream whose clock wraps", clip("w.ts", WRAP), ALL),
    Case("two recordings of a disc, one after the other", joined(0, 0), ALL, times=tuple(n / 25 for n in ALL),
         authority=False),
    Case("MKV that starts late", clip("l.mkv", LATE), ALL),
    Case("negative start with B-frames", clip("n.mp4", Coding(options={"bf": "3"}, container={
        "movflags": "negative_cts_offsets", "use_editlist": "0"})), ALL),
    Case("clock of 90,000 a second", clip("k.mp4", Coding(ticks=tuple(9000 * n for n in ALL), tick=NINETY,
                                                        rate=90000, options={"bf": "0"})), ALL),
    Case("one frame on a clock of 90,000 a second", long_still, (9,)),
    Case("1,000 a second", clip("fast.mp4", Coding(rate=1000, options={"bf": "0"})), ALL,
         times=tuple(n / 1000 for n in ALL)),
    Case("one in ten seconds", clip("slow.mp4", Coding(ticks=tuple(10 * n for n in ALL), tick=Fraction(1))), ALL,
         times=tuple(10.0 * n for n in ALL)),
)  # fmt: skip
RATE = tuple(n / 25 for n in range(6))
MPEG2 = Coding("mpeg2video", rate=25, field_flags=ILDCT, setfield="tff")
AVC = Coding(rate=25, setfield="tff", options={"x264-params": "tff=1:log-level=-1", "crf": "8"}, field_flags=ILDCT)
DV = {"codec": "dvvideo", "rate": 25, "setfield": "bff"}
FIELDS = (
    Case("MPEG-2, top field first", fields("i.ts", MPEG2), ALL[:6], times=RATE, combed=False),
    Case("MPEG-2, bottom field first", fields("i.ts", replace(MPEG2, setfield="bff")), ALL[:6], times=RATE,
         combed=False),
    Case("MPEG-2, left as it is", fields("i.ts", MPEG2), ALL[:6], times=RATE, combed=True,
         reading={"deinterlace": "off"}),
    Case("H.264, MBAFF", fields("i.mp4", AVC), ALL[:6], times=RATE, combed=False),
    Case("H.264, MBAFF, bottom field first", fields("i.mp4", replace(
        AVC, setfield="bff", options={"x264-params": "bff=1:log-level=-1", "crf": "8"})), ALL[:6], times=RATE,
        combed=False),
    Case("fields that say nothing, forced", fields("i.mkv", Coding(rate=25)), ALL[:6], times=RATE, combed=False,
         reading={"deinterlace": "on"}),
    Case("fields that say nothing, left", fields("i.mkv", Coding(rate=25)), ALL[:6], times=RATE, combed=True),
    Case("DV of PAL", fields("d.dv", Coding(**DV), 3, (576, 720)), (0, 1, 2), size=(576, 768), combed=False,
         times=RATE[:3]),
    Case("DV of PAL in AVI", fields("d.avi", Coding(**DV), 3, (576, 720)), (0, 1, 2), size=(576, 768), combed=False,
         times=RATE[:3]),
    Case("progressive content in interlaced coding", lambda f: encode(f / "p.ts", pictures(6), MPEG2), ALL[:6],
         times=RATE),
    Case("progressive H.264 with interlaced flags", lambda f: encode(f / "p.mp4", pictures(6), AVC), ALL[:6],
         times=RATE),
)  # fmt: skip
CASES: tuple[Case, ...] = (*TIMES, *FIELDS)
