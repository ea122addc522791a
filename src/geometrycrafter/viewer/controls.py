"""The panel of the viewer in the browser: what can be changed, and what it is told of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

from geometrycrafter.viewer.colouring import available
from geometrycrafter.viewer.look import Shown
from geometrycrafter.viewer.measuring import apart, told
from geometrycrafter.viewer.state import Compared

if TYPE_CHECKING:
    from geometrycrafter.viewer.server import Viewer

SPEEDS = {"1/4": 0.25, "1/2": 0.5, "1": 1.0, "2": 2.0, "4": 4.0}
SIZES = {"640x360": (360, 640), "1280x720": (720, 1280), "1920x1080": (1080, 1920)}
"""Of videos: height and width."""
WAYS = ("orbit", "clip", "keys")
SHOWN: dict[Shown, str] = {
    "frame": "the frame",
    "moving": "what moves",
    "static": "the static world",
    "both": "what moves in the static world",
}


class Controls:
    """The panel; one for all who look.

    Args:
        viewer: whose.
    """

    def __init__(self, viewer: Viewer):
        self.viewer, self.state, self.gui = viewer, viewer.state, viewer.server.gui
        self.gui.configure_theme(control_layout="collapsible", dark_mode=True, show_logo=False, show_share_button=False)
        self._time()
        self._view()
        self._shown()
        self._measure()
        self._flight()

    def tell(self) -> None:
        """Show what has changed by itself: the frame, and what was measured."""
        if self.frame.value != self.state.frame:
            self.frame.value = self.state.frame
        if self.playing.value != self.state.playing:
            self.playing.value = self.state.playing
        scene = self.viewer.stages[0].clouds.scene
        clicks = self.state.clicks
        words = {0: "Click a point.", 1: "Click a second one."}.get(len(clicks), "") if self.state.measuring else ""
        self.told.content = words if len(clicks) < 2 else f"**{told(apart(*clicks), scene.unit)}**"

    def _bind(self, handle: Any, **setters: Any) -> Any:
        """Change the state whenever somebody changes a control."""

        @handle.on_update
        def _(event: Any) -> None:
            self.state.set(**{name: how(handle.value) for name, how in setters.items()})

        return handle

    def _bind_look(self, handle: Any, name: str, how: Any) -> None:
        @handle.on_update
        def _(event: Any) -> None:
            self.state.relook(**{name: how(handle.value)})

    def _time(self) -> None:
        state, gui = self.state, self.gui
        self.playing = self._bind(gui.add_checkbox("Play", state.playing), playing=bool)
        last = max(state.count - 1, 1)
        self.frame = gui.add_slider("Frame", 0, last, 1, state.frame, disabled=state.count < 2)

        @self.frame.on_update
        def _(event: Any) -> None:
            if event.client is not None:  # not what the viewer itself has set
                state.set(frame=int(self.frame.value))

        self._bind(gui.add_dropdown("Speed", list(SPEEDS), initial_value="1"), speed=SPEEDS.__getitem__)

    def _view(self) -> None:
        with self.gui.add_folder("View"):
            camera = self.gui.add_button("From the frame's camera")
            world = self.gui.add_button("From outside")
            self._bind(self.gui.add_checkbox("Follow the camera", self.state.follow), follow=bool)
            picture = self.gui.add_button("Save a picture")
        camera.on_click(lambda event: self.viewer.look_from_camera([event.client]))
        world.on_click(lambda event: self.viewer.look_from_outside(event.client))
        picture.on_click(lambda event: self.viewer.snapshot(event.client))

    def _shown(self) -> None:
        state, gui, scene = self.state, self.gui, self.viewer.stages[0].clouds.scene
        with gui.add_folder("Shown"):
            self._bind_look(
                gui.add_dropdown("Colour", available(scene), initial_value=state.look.colour), "colour", str
            )
            has = {"frame": True, "static": scene.poses is not None}
            has["moving"] = has["both"] = has["static"] and scene.array("moving") is not None
            words = {word: name for name, word in SHOWN.items() if has[name]}
            shows = gui.add_dropdown("Points of", list(words), initial_value=SHOWN[state.look.show])
            self._bind_look(shows, "show", words.__getitem__)
            self._bind(gui.add_slider("Point size", 0.2, 5, 0.1, state.point_size), point_size=float)
            edges = gui.add_slider("Cut at jumps of", 0, 0.5, 0.01, min(state.look.edges, 0.5), hint="0 cuts none")
            self._bind_look(edges, "edges", float)
            if scene.array("confidence") is not None:
                doubt = gui.add_slider("Without the least sure", 0, 0.95, 0.05, state.look.confident)
                self._bind_look(doubt, "confident", float)
            self._bind_look(gui.add_checkbox("Sky and background", state.look.sky), "sky", bool)
            self._bind(gui.add_checkbox("Cameras", state.cameras), cameras=bool)
            if len(self.viewer.stages) > 1:
                how = gui.add_dropdown("Two scenes", list(get_args(Compared)), initial_value=state.compared)
                self._bind(how, compared=str)

    def _measure(self) -> None:
        with self.gui.add_folder("Measure", expand_by_default=False):
            on = self._bind(self.gui.add_checkbox("Click at two points", False), measuring=bool)
            self.told = self.gui.add_markdown("")
            metres = self.gui.add_number("This is, in metres", 1.0, min=1e-6, max=1e9)
            keep = self.gui.add_button("Keep as the scene's unit")
        on.on_update(lambda event: self.viewer.listen(bool(on.value)))
        keep.on_click(lambda event: self.viewer.keep_unit(float(metres.value), event.client))

    def _flight(self) -> None:
        with self.gui.add_folder("Flight", expand_by_default=False):
            add = self.gui.add_button("Add this view as a key")
            clear = self.gui.add_button("Forget the keys")
            save = self.gui.add_button("Save the keys")
            way = self.gui.add_dropdown("Way", list(WAYS), initial_value="orbit")
            size = self.gui.add_dropdown("Size", list(SIZES), initial_value="1280x720")
            render = self.gui.add_button("Render a video")
        add.on_click(lambda event: self.viewer.add_key(event.client))
        clear.on_click(lambda event: self.state.set(keys=[]))
        save.on_click(lambda event: self.viewer.save_keys(event.client))
        render.on_click(lambda event: self.viewer.render(str(way.value), event.client, SIZES[size.value]))
