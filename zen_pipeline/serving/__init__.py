"""The MLflow model."""
