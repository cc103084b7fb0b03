"""Find records that are equal, nearly equal, or contained in a test set."""
