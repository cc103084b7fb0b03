"""What a model can be taught."""
