"""The page of a scene, read back by a decoder of its own, and driven by a browser."""

from __future__ import annotations

import base64
import io
import json
import re
import zlib
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from test_export_worlds import FRAMES, HEIGHT, NORMAL, OFFSET, WIDTH, K, painted, plane, poses

import geometrycrafter as gc
from geometrycrafter.cli.main import main
from geometrycrafter.errors import InputError
from geometrycrafter.export import export
from geometrycrafter.export.packed import pack


class Scripts(HTMLParser):
    """The scripts of a page, by class or id, and the addresses that it names."""

    def __init__(self, text: str):
        super().__init__()
        self.found: dict[str, list[str]] = {}
        self.addresses: list[str] = []
        self._name: str | None = None
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        about = dict(attributes)
        self.addresses += [about[name] for name in ("src", "href") if name in about]
        self._name = (about.get("class") or about.get("id") or "program") if tag == "script" else None
        if self._name:
            self.found.setdefault(self._name, []).append("")

    def handle_data(self, data):
        if self._name:
            self.found[self._name][-1] += data

    def handle_endtag(self, tag):
        self._name = None


def restored(low, high):
    """16-bit values of two planes of bytes, one after another, as the format is described."""
    height, width = low.shape
    code = low.astype(int) | high.astype(int) << 8
    off = (code >> 1) ^ -(code & 1)
    out = np.zeros((height, width), int)
    for y in range(height):
        for x in range(width):
            if y == 0:
                told = out[0, x - 1] if x else 0
            elif x == 0:
                told = out[y - 1, 0]
            else:
                left, up, corner = out[y, x - 1], out[y - 1, x], out[y - 1, x - 1]
                told = sorted((left, up, left + up - corner))[1]
            out[y, x] = (told + off[y, x]) & 0xFFFF
    return out


class Read:
    """What a page holds."""

    def __init__(self, path):
        self.scripts = Scripts(path.read_text(encoding="utf-8")).found
        self.about, self.loss = (json.loads(self.scripts[name][0]) for name in ("about", "loss-told"))
        self.shape = self.about["height"], self.about["width"]

    def points(self, i):
        """Points of a frame in its camera's axes, which are valid, and which move."""
        frame = self.about["frames"][i]
        data = np.frombuffer(zlib.decompress(base64.b64decode(self.scripts["depth"][i])), np.uint8)
        planes = data.reshape(-1, *self.shape)
        depth = frame["near"] * np.exp(restored(planes[0], planes[1]) * frame["quantum"])
        x, y = np.meshgrid(np.arange(self.shape[1]), np.arange(self.shape[0]))
        fx, fy, cx, cy = frame["k"]
        rays = np.stack([(x - cx) / fx, (y - cy) / fy], -1)
        if frame["rays"] is not None:
            first = np.array(frame["rays"][:2]), np.array(frame["rays"][2:])
            levels = np.stack([restored(planes[3], planes[4]), restored(planes[5], planes[6])], -1)
            rays = first[0] + levels * first[1]
        whole = np.concatenate([rays, np.ones((*self.shape, 1))], -1) * depth[..., None]
        return whole, planes[2] & 1 == 1, planes[2] & 2 == 2

    def picture(self, i):
        return np.asarray(Image.open(io.BytesIO(base64.b64decode(self.scripts["picture"][i]))).convert("RGB"))


def test_a_page_holds_the_scenes_points_colours_cameras_and_what_moves(tmp_path):
    scene = plane()
    page = Read(export(scene, "html", tmp_path / "p.html"))
    worst = 0.0
    for t in range(FRAMES):
        points, valid, moving = page.points(t)
        np.testing.assert_array_equal(valid, scene.mask[t])
        np.testing.assert_array_equal(moving, scene.array("moving")[t])
        true = scene.points[t].astype(float)
        off = np.linalg.norm(points - true, axis=-1) / np.linalg.norm(true, axis=-1)
        worst = max(worst, off[valid].max())
        frame = page.about["frames"][t]
        assert frame["number"] == t and abs(frame["time"] - t / 10) < 1e-9
        np.testing.assert_allclose(np.reshape(frame["pose"], (3, 4)), poses()[t, :3], atol=1e-6)
        assert np.abs(page.picture(t).astype(int) - scene.frames[t])[~moving].mean() < 4
    assert worst < 0.0005 * 1.001 and abs(page.loss["max"] - worst) < 2e-5 and 0 < page.loss["median"] < worst


def test_rays_of_their_own_and_a_coarser_grid_are_kept(tmp_path):
    flat = plane()
    x, y = np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT))
    rays = np.stack([(x - K[0, 2]) / 55 + 0.02 * np.sin(y / 9), (y - K[1, 2]) / 66], -1)
    path = tmp_path / "s.gc"
    flat.save(path)
    scene = with_rays(path, np.tile(rays, (FRAMES, 1, 1, 1)).astype(np.float32))
    page = Read(export(scene, "html", tmp_path / "p.html", step=3, stride=2))
    assert [frame["number"] for frame in page.about["frames"]] == [0, 2, 4] and page.shape == (16, 22)
    for i, t in enumerate((0, 2, 4)):
        points, valid, _ = page.points(i)
        true = scene.points[t][::3, ::3].astype(float)
        assert np.linalg.norm(points - true, axis=-1)[valid].max() < 0.002 * np.linalg.norm(true, axis=-1).max()


def with_rays(path, rays):
    """The scene on disk with rays, which only a run writes."""
    import zarr

    group = zarr.open_group(str(path), mode="r+")
    group.create_array("rays", data=rays, chunks=(1, *rays.shape[1:]))
    names = group.attrs.get("arrays")
    if names is not None:
        group.attrs["arrays"] = sorted({*names, "rays"})
    return gc.open(path)


def test_the_static_world_of_a_page_is_the_plane_without_what_moves(tmp_path):
    page = Read(export(plane(), "html", tmp_path / "p.html"))
    about = page.about["world"]
    data = np.frombuffer(zlib.decompress(base64.b64decode(page.scripts["world"][0])), np.uint8)
    halves = data[: 6 * about["points"]].reshape(3, 2, -1).astype(int)
    level = np.cumsum(halves[:, 0] | halves[:, 1] << 8, axis=1) & 0xFFFF
    points = (np.array(about["low"])[:, None] + level / 65535 * np.array(about["across"])[:, None]).T
    assert np.abs(points @ NORMAL - OFFSET).max() < 2e-3
    colours = data[6 * about["points"] :].reshape(-1, 3).astype(float)
    assert np.abs(colours - painted(points)).mean() < 2
    assert Read(export(plane(), "html", tmp_path / "q.html", static="off")).about["world"] is None


def noisy(frames, height, width):
    rng = np.random.default_rng(0)
    depth = rng.uniform(1, 3, (frames, height, width))
    pictures = rng.integers(0, 255, (frames, height, width, 3)).astype(np.uint8)
    k = np.array([[width, 0, width / 2], [0, width, height / 2], [0, 0, 1.0]])
    return gc.Scene.from_depth(depth, depth > 0, k, pictures)


def test_a_page_is_as_dense_as_its_size_allows_and_never_larger(tmp_path):
    scene = noisy(6, 120, 160)
    sizes = [export(scene, "html", tmp_path / f"{mb}.html", megabytes=mb).stat().st_size for mb in (0.2, 0.6, 20)]
    assert sizes[0] <= 0.2e6 and 0.2e6 < sizes[1] <= 0.6e6 and sizes[1] <= sizes[2]
    assert Read(tmp_path / "0.2.html").shape < (120, 160)
    assert Read(tmp_path / "20.html").shape == (120, 160)
    with pytest.raises(InputError, match=r"page of 6 frames is larger than 0.1 MB; give more --megabytes"):
        export(scene, "html", tmp_path / "no.html", megabytes=0.1, step=1)
    assert not (tmp_path / "no.html").exists()


def test_a_page_asks_nothing_of_any_network_and_its_title_is_no_markup(tmp_path):
    scene = plane().save(tmp_path / '<b>&".gc')
    text = export(scene, "html").read_text(encoding="utf-8")
    scripts = Scripts(text)
    assert scripts.addresses == [] and "default-src 'none'" in text
    assert not re.search(r"https?://|\bfetch\(|XMLHttp|WebSocket|import\(", "".join(scripts.found["program"]))
    assert "<b>" not in text and "<title>&lt;b&gt;&amp;&quot;</title>" in text


def test_a_scene_without_a_valid_pixel_has_no_page(tmp_path, capsys):
    ones = np.ones((2, 8, 8), np.float32)
    gc.Scene.from_depth(ones, ones < 0, K).save(tmp_path / "s.gc")
    assert main(["export", str(tmp_path / "s.gc"), "html"]) == 2
    assert "no pixel of these frames is valid" in capsys.readouterr().err and not (tmp_path / "s.html").exists()


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 2**32 - 1), st.sampled_from([0.0005, 0.004]), st.booleans())
def test_packed_depth_is_within_its_precision_whatever_it_is(height, width, seed, precision, own_rays):
    rng = np.random.default_rng(seed)
    depth = np.exp(rng.uniform(-9, 9, (height, width))).astype(np.float32)
    valid, moving = rng.random((2, height, width)) < 0.7
    rays = rng.uniform(-2, 2, (height, width, 2))
    packed = pack(depth, valid, rays, precision, moving, own_rays)
    planes = np.frombuffer(zlib.decompress(packed.data), np.uint8).reshape(-1, height, width)
    found = packed.near * np.exp(restored(planes[0], planes[1]) * packed.quantum)
    np.testing.assert_array_equal(planes[2], valid * 1 + (valid & moving) * 2)
    assert len(planes) == (7 if own_rays else 3)
    np.testing.assert_allclose(found[valid], depth[valid], rtol=precision * 1.01)
    if not own_rays and valid.any():
        assert packed.error.max() <= precision * 1.01


def until(tab, condition):
    """Wait until a page's program says so; it may not run text itself, so it is asked from outside."""
    for _ in range(300):
        if tab.evaluate(condition):
            return
        tab.wait_for_timeout(50)
    raise AssertionError(f"{condition}: not in time")


def gathered(tab, event):
    """What happens of a kind in a tab, as it comes."""
    found: list = []
    tab.on(event, lambda happened: found.append(happened))
    return found


@pytest.mark.slow
def test_a_browser_plays_turns_and_shows_the_frames_colours(chromium, tmp_path):
    path = export(plane(), "html", tmp_path / "p.html")
    browser = chromium("--enable-unsafe-swiftshader")
    for width, height, scheme in ((1000, 700, "light"), (390, 800, "dark")):
        context = browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme=scheme,
            reduced_motion="reduce",
            has_touch=True,
        )
        tab = context.new_page()
        faults, asked = gathered(tab, "pageerror"), gathered(tab, "request")
        tab.goto(path.as_uri())
        settled = "current !== null && current.f === frames[shown] && !stale"
        until(tab, settled)
        tab.click("#follow")
        tab.keyboard.press("ArrowRight")
        until(tab, settled + " && shown === 1")
        tab.wait_for_timeout(300)
        whole = np.asarray(Image.open(io.BytesIO(tab.screenshot())).convert("RGB")).astype(int)
        # The camera's view fits the picture into the window, and shows it.
        scale = min(width / WIDTH, height / HEIGHT)
        at = [(x, y) for y in (15, 30, 40) for x in (18, 25, 45, 58)]
        seen = [
            whole[round(height / 2 + (y + 0.5 - HEIGHT / 2) * scale), round(width / 2 + (x + 0.5 - WIDTH / 2) * scale)]
            for x, y in at
        ]
        wanted = [plane().frames[1][y, x].astype(int) for x, y in at]
        assert np.abs(np.array(seen) - wanted).max(1).mean() < 12
        ground = whole[80, 5]
        assert (ground.sum() > 600) == (scheme == "light")
        before = tab.evaluate("[orbit.yaw, orbit.away]")
        tab.mouse.move(width / 2, height / 2)
        tab.mouse.down()
        tab.mouse.move(width / 2 + 80, height / 2)
        tab.mouse.up()
        tab.mouse.wheel(0, 240)
        tab.wait_for_timeout(200)
        after = tab.evaluate("[orbit.yaw, orbit.away]")
        assert after[0] != before[0] and after[1] != before[1] and not tab.evaluate("state.follow")
        # Two fingers that part come nearer.
        away, touch = tab.evaluate("orbit.away"), context.new_cdp_session(tab)
        for kind, gap in (("touchStart", 40), ("touchMove", 60), ("touchMove", 90)):
            fingers = [{"x": width / 2 + side * gap, "y": height / 2, "id": i} for i, side in enumerate((-1, 1))]
            touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": fingers})
        touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
        until(tab, f"orbit.away < {0.7 * away}")
        tab.keyboard.press("Space")
        until(tab, "shown === 3")
        assert not faults and all(request.url.startswith(("file:", "blob:")) for request in asked)
        context.close()


@pytest.mark.slow
def test_while_a_frame_is_unpacked_the_last_one_stays_however_far_away_it_is(chromium, tmp_path):
    path = export(plane(), "html", tmp_path / "p.html")
    path.write_text(path.read_text().replace("Math.max(8, Math.floor(2.56e8", "Math.max(2, Math.floor(1"))
    browser = chromium("--enable-unsafe-swiftshader")
    tab = browser.new_context(reduced_motion="reduce").new_page()
    tab.goto(path.as_uri())
    until(tab, "current !== null && current.entry.ready && !stale")
    first, last = tab.evaluate(
        "() => { draw(); const first = canvas.toDataURL(); for (let i = 0; i < count; i++) { show(i); draw(); }"
        " return [first, canvas.toDataURL()]; }"
    )
    assert len(last) > 0.8 * len(first)


@pytest.mark.slow
def test_where_a_browser_can_not_draw_the_page_says_what_it_is(chromium, tmp_path):
    path = export(plane(), "html", tmp_path / "p.html")
    browser = chromium("--disable-3d-apis")
    tab = browser.new_page()
    tab.goto(path.as_uri())
    said = tab.locator("#message").inner_text()
    assert tab.locator("#message").is_visible() and "It needs WebGL2" in said and "video as points in space" in said
