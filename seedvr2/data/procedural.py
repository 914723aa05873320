"""Drawn clips without any files: textured backgrounds, moving shapes and strokes under a moving camera.

They have what restoration must recover, sharp edges and fine detail in motion, and serve tests and first runs.
"""
