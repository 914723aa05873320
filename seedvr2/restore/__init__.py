"""Restoration of videos and images of any length: sizes, colour, the streaming core and the models it runs."""
