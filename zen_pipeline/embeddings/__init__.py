"""Word vectors: training, files, neighbours."""
