"""The pages that people read: reports, charts, and their words."""
