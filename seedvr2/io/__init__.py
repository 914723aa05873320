"""Reading and writing of videos and images."""
