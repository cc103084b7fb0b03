"""Cleaning of one record: repaired characters, language, quality rules, personal data; pure, for worker processes."""

from zen_pipeline.corpus.cleaning.cleaner import Cleaned, Cleaner

__all__ = ["Cleaned", "Cleaner"]
