"""What a restoration will need, foretold before anything is loaded, and the settings with which it fits."""
