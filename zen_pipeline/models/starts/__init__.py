"""First weights of a new language model that are better than random ones."""
