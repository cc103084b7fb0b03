"""Read files of every format into records."""
