"""Train tokenizers, and write token shards."""
