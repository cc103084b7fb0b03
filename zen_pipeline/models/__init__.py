"""Model families, shared blocks, and folders in Hugging Face's format."""
