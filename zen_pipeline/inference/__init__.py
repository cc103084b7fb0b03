"""KV cache and sampling."""
