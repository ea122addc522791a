"""Scenes to look at: points, cameras and what moves, in a browser, or as a flight through them in a video."""
