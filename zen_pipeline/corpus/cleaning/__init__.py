"""Cleaning of one record: repaired characters, language, quality rules, personal data; pure, for worker processes."""
