"""Renders ``room.mp4``, the clip of ``make demo``, with the project's own renderer."""

from pathlib import Path

import av

from geometrycrafter.data.renderer import render_clip

clip = render_clip(seed=524, frames=48, height=240, width=416)
with av.open(str(Path(__file__).with_name("room.mp4")), "w") as container:
    stream = container.add_stream("libx264", rate=12, options={"crf": "18"})
    stream.width, stream.height, stream.pix_fmt = 416, 240, "yuv420p"
    for frame in clip.frames:
        picture = (frame * 255).round().byte().permute(1, 2, 0).contiguous().numpy()
        container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
    container.mux(stream.encode(None))
