"""What a run leaves on disk: atomic files, run records, the layout of a run folder."""
