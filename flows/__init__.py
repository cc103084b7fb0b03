"""Prefect flows: order, retries, caching, schedules, artifacts in the UI; nothing else."""
