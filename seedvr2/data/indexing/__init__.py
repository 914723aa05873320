"""The index of a data set: what its files hold, which clips are usable, and where they lie."""
