"""Which stream and which frames: the video that a player shows, from its first whole frame to its last."""

from __future__ import annotations

import struct
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from clips.case import Case
from clips.making import Absent, Coding, add, cut, encode, ffmpeg, need, packets, spoil
from clips.marks import picture, pictures

ALL = tuple(range(12))
INTRA = Coding(options={"g": "1", "bf": "0", "crf": "18"})
CLOSED = Coding(options={"g": "6", "bf": "0", "sc_threshold": "0"})
TWENTY = tuple(range(20))
DEFAULT = av.stream.Disposition.default
NONE = av.stream.Disposition(0)


def clip(name: str, coding: Coding = Coding(), count: int = 12):  # noqa: B008
    """A maker of a clip of numbered pictures."""
    return lambda folder: encode(folder / name, pictures(count), coding)


def several(name: str, *streams: tuple[int, int, int, int | None], codec: str = "libx264"):
    """A maker of a file of several streams: first number, height, width and disposition of each."""

    def make(folder: Path) -> Path:
        need(codec)
        with av.open(str(folder / name), "w") as container:
            parts = []
            for first, height, width, disposition in streams:  # headers first: a muxer takes no stream later
                stream = container.add_stream(codec, rate=10)
                stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
                if codec == "libx264":
                    stream.codec_context.options = {"crf": "8", "bf": "0"}
                if disposition is not None:
                    stream.disposition = disposition
                parts.append((stream, first, height, width))
            for index in range(12):
                for stream, first, height, width in parts:
                    frame = av.VideoFrame.from_ndarray(picture(first + index, height, width), format="rgb24")
                    frame.pts, frame.time_base = index, Fraction(1, 10)
                    container.mux(stream.encode(frame.reformat(format="yuv420p")))
            for stream, *_ in parts:
                container.mux(stream.encode(None))
        return folder / name

    return make


def sound(container: av.container.OutputContainer, codec: str = "pcm_s16le") -> tuple[object, av.AudioFrame]:
    """A stream of one second of silence, and its frame."""
    stream = container.add_stream(codec, rate=48000)
    stream.layout = "mono"
    frame = av.AudioFrame.from_ndarray(np.zeros((1, 4800), np.int16), format="s16", layout="mono")
    frame.sample_rate, frame.pts, frame.time_base = 48000, 0, Fraction(1, 48000)
    return stream, frame


def music(name: str, codec: str, cover: str | None):
    """A maker of music, with a cover in the given image codec."""

    def make(folder: Path) -> Path:
        need(codec)
        kind = "mp4" if name.endswith(".m4a") else None  # the muxer of .m4a takes no cover from here
        with av.open(str(folder / name), "w", format=kind) as container:
            stream, frame = sound(container, codec)
            picture_stream = None
            if cover:
                picture_stream = container.add_stream(cover, rate=10)
                picture_stream.width, picture_stream.height = 96, 64
                picture_stream.pix_fmt = "yuvj420p" if cover == "mjpeg" else "rgb24"
                picture_stream.disposition = av.stream.Disposition.attached_pic
                still = av.VideoFrame.from_ndarray(picture(5), format="rgb24")
                still = still.reformat(format=picture_stream.pix_fmt)
                still.pts, still.time_base = 0, Fraction(1, 10)
                container.mux(picture_stream.encode(still))
                container.mux(picture_stream.encode(None))
            resampler = av.AudioResampler(format=stream.format, layout="mono", rate=48000)
            fifo = av.AudioFifo()
            for part in resampler.resample(frame):
                fifo.write(part)
            size = stream.codec_context.frame_size or 1024
            while (part := fifo.read(size)) is not None:
                container.mux(stream.encode(part))
            container.mux(stream.encode(None))
        return folder / name

    return make


def with_cover(name: str, first: bool):
    """A maker of a video with an attached picture that is larger than the video, as first or last stream."""

    def make(folder: Path) -> Path:
        with av.open(str(folder / name), "w") as container:
            streams = []
            for kind in ("cover", "video") if first else ("video", "cover"):
                stream = container.add_stream("mjpeg" if kind == "cover" else "libx264", rate=10)
                stream.width, stream.height = (192, 128) if kind == "cover" else (96, 64)
                stream.pix_fmt = "yuvj420p" if kind == "cover" else "yuv420p"
                if kind == "cover":
                    stream.disposition = av.stream.Disposition.attached_pic
                streams.append((kind, stream))
            for kind, stream in streams:
                shown = [picture(31, 128, 192)] if kind == "cover" else pictures(12)
                for index, rgb in enumerate(shown):
                    frame = av.VideoFrame.from_ndarray(rgb, format="rgb24").reformat(format=stream.pix_fmt)
                    frame.pts, frame.time_base = index, Fraction(1, 10)
                    container.mux(stream.encode(frame))
                container.mux(stream.encode(None))
        return folder / name

    return make


def attached(folder: Path) -> Path:
    """A Matroska file with a cover as an attachment."""
    target = folder / "attached.mkv"
    cover = encode(folder / "cover.jpg", [picture(31, 128, 192)], Coding("mjpeg", "yuvj420p", format="image2"))
    with av.open(str(target), "w") as container:
        if not hasattr(container, "add_attachment"):
            raise Absent("this PyAV can't write attachments")
        container.add_attachment("cover.jpg", "image/jpeg", cover.read_bytes())
        add(container, Coding(), pictures(12))
    return target


def thumbnail_first(folder: Path) -> Path:
    """A camera's file whose first video track is a thumbnail of one frame."""
    target = folder / "camera.mov"
    with av.open(str(target), "w") as container:
        small = container.add_stream("mjpeg", rate=10)
        small.width, small.height, small.pix_fmt = 48, 32, "yuvj420p"
        small.disposition = DEFAULT
        video = container.add_stream("libx264", rate=10)
        video.width, video.height, video.pix_fmt = 96, 64, "yuv420p"
        video.codec_context.options = {"crf": "8", "bf": "0"}
        video.disposition = DEFAULT
        frame = av.VideoFrame.from_ndarray(picture(31, 32, 48), format="rgb24").reformat(format="yuvj420p")
        frame.pts, frame.time_base = 0, Fraction(1, 10)
        container.mux(small.encode(frame))
        container.mux(small.encode(None))
        for index, rgb in enumerate(pictures(12)):
            frame = av.VideoFrame.from_ndarray(rgb, format="rgb24").reformat(format="yuv420p")
            frame.pts, frame.time_base = index, Fraction(1, 10)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
    return target


def sound_first(folder: Path) -> Path:
    """A file whose first stream is sound."""
    target = folder / "sound.mkv"
    with av.open(str(target), "w") as container:
        stream, frame = sound(container)
        video = container.add_stream("libx264", rate=10)
        video.width, video.height, video.pix_fmt = 96, 64, "yuv420p"
        video.codec_context.options = {"crf": "8"}
        container.mux(stream.encode(frame))
        for index, rgb in enumerate(pictures(12)):
            shown = av.VideoFrame.from_ndarray(rgb, format="rgb24").reformat(format="yuv420p")
            shown.pts, shown.time_base = index, Fraction(1, 10)
            container.mux(video.encode(shown))
        container.mux(video.encode(None))
    return target


def edited(skip: int, keep: int):
    """A maker of an MP4 whose edit list (ISO/IEC 14496-12 8.6.6) shows ``keep`` frames after ``skip``."""

    def make(folder: Path) -> Path:
        path = clip("edited.mp4", replace(CLOSED, container={"movie_timescale": "1000"}))(folder)
        data = bytearray(path.read_bytes())
        at = data.find(b"elst")
        assert data[at + 4] == 0 and struct.unpack(">I", data[at + 8 : at + 12])[0] == 1
        media = data.find(b"mdhd")
        timescale = struct.unpack(">I", data[media + 16 : media + 20])[0]
        data[at + 12 : at + 20] = struct.pack(">Ii", keep * 100, skip * timescale // 10)
        path.write_bytes(data)
        return path

    return make


def large_jpegs(folder: Path) -> Path:
    """Motion JPEG of frames so large that ffmpeg, which sees one at first, takes it for a picture."""
    noise = np.random.default_rng(0).integers(0, 30, (240, 320, 3), np.uint8)
    frames = [np.minimum(shown, 225) + noise for shown in pictures(12, 240, 320)]
    bare = encode(folder / "bare.mjpeg", frames, Coding("mjpeg", "yuvj420p", format="mjpeg")).read_bytes()
    jfif = b"\xff\xd8\xff\xe0\0\x10JFIF\0\1\1\0\0\1\0\1\0\0"
    (folder / "large.mjpeg").write_bytes(bare.replace(b"\xff\xd8", jfif))
    return folder / "large.mjpeg"


def without_start(name: str, coding: Coding, dropped: int):
    """A maker of a stream that was joined after some packets had gone by."""

    def make(folder: Path) -> Path:
        whole = encode(folder / f"whole-{name}", pictures(12), coding)
        with av.open(str(whole)) as source, av.open(str(folder / name), "w") as target:
            stream = target.add_stream_from_template(source.streams.video[0])
            kept = [p for p in source.demux(video=0) if p.size][dropped:]
            for packet in kept:
                packet.stream = stream
                target.mux(packet)
        whole.unlink()
        return folder / name

    return make


def open_start(folder: Path) -> Path:
    """A stream joined at an I-frame whose leading B-frames lean on what has gone by (an open group of pictures)."""
    options = {
        "x264-params": "open-gop=1:keyint=6:min-keyint=6:scenecut=0:bframes=2:b-adapt=0:log-level=-1",
        "crf": "8",
    }
    whole = encode(folder / "whole.ts", pictures(20), Coding(options=options))
    with av.open(str(whole)) as source, av.open(str(folder / "open.ts"), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        given = [p for p in source.demux(video=0) if p.size]
        joined = [index for index, packet in enumerate(given) if packet.is_keyframe][1]
        for packet in given[joined:]:
            packet.stream = stream
            target.mux(packet)
    whole.unlink()
    return folder / "open.ts"


def trimmed(folder: Path) -> Path:
    """An MP4 that ffmpeg trimmed without coding anew; its edit list hides what came before."""
    clip("long.mp4", CLOSED)(folder)
    ffmpeg(folder, "-ss", "0.8", "-i", "long.mp4", "-c", "copy", "trimmed.mp4")
    return folder / "trimmed.mp4"


def headless(folder: Path) -> Path:
    """Raw H.264 whose first packets are gone."""
    path = clip("raw.h264", replace(CLOSED, format="h264"))(folder)
    at = packets(path)[2][0]
    path.write_bytes(path.read_bytes()[at:])
    return path


def cut_after(name: str, coding: Coding, frames: int):
    """A maker of a file that ends in the middle of the packet after ``frames`` frames, its header being whole."""

    def make(folder: Path) -> Path:
        path = encode(folder / name, pictures(20), coding)
        at, size = packets(path)[frames]
        path.write_bytes(path.read_bytes()[: at + size // 3])
        return path

    return make


def damaged(name: str, coding: Coding, indices: tuple[int, ...]):
    """A maker of a clip some of whose packets are noise."""
    return lambda folder: spoil(encode(folder / name, pictures(20), coding), indices)


def remuxed_avi(folder: Path) -> Path:
    """A constant-rate stream copied to AVI, whose header then counts other than frames."""
    source = encode(folder / "plain.mkv", pictures(12), Coding("mpeg4"))
    with av.open(str(source)) as given, av.open(str(folder / "plain.avi"), "w") as target:
        stream = target.add_stream_from_template(given.streams.video[0])
        for packet in given.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    return folder / "plain.avi"


def packed(folder: Path) -> Path:
    """DivX in AVI, whose packets hold a P- and a B-frame at once, and then nothing: AVI knows of no other order."""
    plain = encode(folder / "plain.avi", pictures(13), Coding("mpeg4", options={"bf": "1", "g": "99"}))
    nothing = b"\0\0\1\xb6\x50\x9f"  # a frame that isn't coded
    with av.open(str(plain)) as given, av.open(str(folder / "packed.avi"), "w") as target:
        stream = target.add_stream_from_template(given.streams.video[0])
        first, *rest = (bytes(p) for p in given.demux(video=0) if p.size)
        content = [first.replace(b"\0\0\1\xb6", b"\0\0\1\xb2DivX503b1393p\0\0\1\xb6", 1)]
        for forward, between in zip(rest[::2], rest[1::2]):
            content += [forward + between, nothing]
        for index, data in enumerate(content):
            packet = av.Packet(data)
            packet.pts = packet.dts = index
            packet.stream, packet.time_base, packet.is_keyframe = stream, Fraction(1, 10), index == 0
            target.mux(packet)
    return folder / "packed.avi"


def raw(name: str, content: bytes):
    """A maker of a file of these bytes."""

    def make(folder: Path) -> Path:
        (folder / name).write_bytes(content)
        return folder / name

    return make


FASTSTART = {"movflags": "faststart"}
OPEN = tuple(range(6, 20))
PNG = Coding("png", "rgb24")
CASES = (
    Case("plain MP4", clip("plain.mp4"), ALL),
    Case("MP4 without B-frames", clip("nob.mp4", CLOSED), ALL),
    Case("HEVC in MP4", clip("h.mp4", Coding("libx265")), ALL),
    Case("VP9 in WebM", clip("v.webm", Coding("libvpx-vp9", options={"crf": "10", "b": "0"})), ALL),
    Case("MPEG-4 part 2 in AVI with B-frames", clip("p.avi", Coding("mpeg4", options={"bf": "2"})), ALL),
    Case("AV1 in MP4", clip("a.mp4", Coding("libsvtav1", options={"crf": "4", "preset": "8"})), ALL),
    Case("larger track second", several("two.mp4", (15, 32, 48, DEFAULT), (0, 64, 96, DEFAULT)), ALL),
    Case("larger track first", several("two.mp4", (0, 64, 96, DEFAULT), (15, 32, 48, DEFAULT)), ALL),
    Case("larger track that is disabled", several("two.mp4", (0, 64, 96, None), (15, 128, 192, None)), ALL),
    Case("default track second", several("def.mkv", (15, 64, 96, NONE), (0, 64, 96, DEFAULT)), ALL),
    Case("default track before a larger one", several("def.mkv", (0, 64, 96, DEFAULT), (15, 128, 192, NONE)), ALL),
    Case("default track after a larger one", several("def.mkv", (15, 128, 192, NONE), (0, 64, 96, DEFAULT)), ALL),
    Case("thumbnail as the first track", thumbnail_first, ALL, authority=True),
    Case("sound before the video", sound_first, ALL),
    Case("cover after the video in MP4", with_cover("c.mp4", first=False), ALL),
    Case("cover before the video in MP4", with_cover("c.mp4", first=True), ALL),
    Case("cover as an attachment of MKV", attached, ALL),
    Case("MP3 with a cover", music("m.mp3", "libmp3lame", "mjpeg"), refuses=("m.mp3", "no video")),
    Case("FLAC with a PNG cover", music("m.flac", "flac", "png"), refuses=("m.flac", "no video")),
    Case("M4A with a cover", music("m.m4a", "aac", "mjpeg"), refuses=("m.m4a", "no video")),
    Case("WAV", music("m.wav", "pcm_s16le", None), refuses=("m.wav", "no video")),
    Case("edit list that skips", edited(3, 9), tuple(range(3, 12))),
    Case("edit list that skips to a keyframe", edited(6, 6), tuple(range(6, 12))),
    Case("edit list that ends early", edited(0, 8), tuple(range(8))),
    Case(
        "edit list that skips, then --start",
        edited(3, 9),
        (5, 7, 9),
        reading={"start": 2, "end": 7, "stride": 2},
        times=(0, 0.2, 0.4),
    ),
    Case(
        "TS joined after its first keyframe",
        without_start("t.ts", CLOSED, 2),
        tuple(range(6, 12)),
        warns=("keyframe", "key frame", "skipped"),
        authority=False,
    ),
    Case(
        "MKV joined after its first keyframe",
        without_start("t.mkv", CLOSED, 2),
        tuple(range(6, 12)),
        warns=("keyframe", "key frame", "skipped"),
        authority=False,
    ),
    Case(
        "MPEG-2 joined in a GOP",
        without_start("t.ts", Coding("mpeg2video", rate=25, options={"g": "6"}), 2),
        tuple(range(6, 12)),
        times=tuple(n / 25 for n in range(6)),
        warns=("keyframe", "key frame", "skipped"),
        authority=False,
    ),
    Case(
        "TS joined at an open group of pictures",
        open_start,
        OPEN,
        times=tuple((n - OPEN[0]) / 10 for n in OPEN),
        warns=("keyframe", "key frame", "skipped"),
        authority=False,
    ),
    Case(
        "raw H.264 joined after its first keyframe",
        headless,
        tuple(range(6, 12)),
        even=False,
        warns=("keyframe", "key frame", "skipped"),
        authority=False,
    ),
    Case("trimmed by ffmpeg without coding", trimmed, tuple(range(8, 12))),
    Case(
        "cut MP4, 19 of 20 frames left",
        cut_after("cut.mp4", replace(INTRA, container=FASTSTART), 19),
        tuple(range(19)),
        warns=("cut", "19 of 20"),
        authority=False,
    ),
    Case(
        "cut MP4, half left",
        cut_after("cut.mp4", replace(INTRA, container=FASTSTART), 10),
        refuses=("cut.mp4", "--end"),
        authority=False,
    ),
    Case(
        "cut MP4, half left, asked for less",
        cut_after("cut.mp4", replace(INTRA, container=FASTSTART), 10),
        tuple(range(8)),
        reading={"end": 8},
        authority=False,
    ),
    Case(
        "cut MKV, half left",
        cut_after("cut.mkv", Coding("mjpeg", "yuvj420p"), 10),
        refuses=("cut.mkv", "--end"),
        authority=False,
    ),
    Case(
        "cut AVI, half left",
        cut_after("cut.avi", Coding("mjpeg", "yuvj420p"), 10),
        refuses=("cut.avi", "--end"),
        authority=False,
    ),
    Case("cut MP4 without its index", lambda f: cut(clip("tail.mp4")(f), 0.9), refuses=("tail.mp4",)),
    Case(
        "one damaged packet",
        damaged("spoilt.mov", PNG, (7,)),
        TWENTY[:7] + TWENTY[8:],
        warns=("damaged", "skipped"),
        times=tuple(n / 10 for n in TWENTY[:7] + TWENTY[8:]),
        authority=False,
    ),
    Case(
        "one damaged packet, strict",
        damaged("spoilt.mov", PNG, (7,)),
        refuses=("spoilt.mov", "damaged"),
        reading={"strict": True},
        authority=False,
    ),
    Case(
        "damaged packets beyond the limit",
        damaged("spoilt.mov", PNG, tuple(range(3, 15))),
        refuses=("spoilt.mov", "damaged"),
        authority=False,
    ),
    Case(
        "damage after the end that is asked for",
        damaged("spoilt.mov", PNG, (9,)),
        tuple(range(5)),
        reading={"end": 5, "strict": True},
        authority=False,
    ),
    Case(
        "AVI with null frames",
        clip("null.avi", Coding("mpeg4", rate=20, ticks=tuple(3 * n for n in ALL))),
        ALL,
        times=tuple(0.15 * n for n in ALL),
        even=True,
    ),
    Case("AVI remuxed from MKV", remuxed_avi, ALL),
    Case("DivX in AVI, B-frames packed", packed, tuple(range(13))),
    Case("fragmented MP4", clip("f.mp4", replace(CLOSED, container={"movflags": "frag_keyframe"})), ALL),
    Case(
        "fragmented MP4 with an empty header",
        clip("f.mp4", replace(CLOSED, container={"movflags": "frag_keyframe+empty_moov+default_base_moof"})),
        ALL,
    ),
    Case(
        "fragmented MP4, frames of the second fragment",
        clip("f.mp4", replace(CLOSED, container={"movflags": "frag_keyframe"})),
        (7, 8, 9),
        reading={"start": 7, "end": 10},
    ),
    Case("raw H.264", clip("r.h264", replace(CLOSED, format="h264")), ALL, even=False),
    Case("raw H.264 with B-frames", clip("b.h264", Coding(format="h264")), ALL, even=False),
    Case("raw HEVC", clip("r.hevc", Coding("libx265", format="hevc")), ALL, even=False),
    Case("raw MPEG-2", clip("r.m2v", Coding("mpeg2video", rate=25, format="mpeg2video")), ALL, even=False),
    Case("YUV4MPEG", clip("r.y4m", Coding("wrapped_avframe", format="yuv4mpegpipe")), ALL),
    Case("raw Motion JPEG", clip("r.mjpeg", Coding("mjpeg", "yuvj420p", format="mjpeg")), ALL, even=False),
    Case("raw Motion JPEG of large frames", large_jpegs, ALL, size=(240, 320), even=False),
    Case(
        "start, end, stride on B-frames",
        clip("s.mp4", Coding(options={"bf": "3", "g": "12"})),
        (2, 5, 8),
        reading={"start": 2, "end": 10, "stride": 3},
        times=(0, 0.3, 0.6),
    ),
    Case("start and end in seconds", clip("s.mp4"), (3, 4, 5, 6), reading={"start_time": 0.3, "end_time": 0.7}),
    Case("start beyond the end", clip("s.mp4"), refuses=("s.mp4", "start"), reading={"start": 12}),
    Case("one frame", clip("one.mp4", count=1), (0,)),
    Case("empty file", raw("empty.mp4", b""), refuses=("empty.mp4",)),
    Case("text that is called a video", raw("text.mp4", b"no video at all\n" * 40), refuses=("text.mp4",)),
    Case("no such file", lambda folder: folder / "nowhere.mp4", refuses=("nowhere.mp4",)),
)
