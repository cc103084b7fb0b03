"""Read, clean, validate, tokenize and shard text."""
