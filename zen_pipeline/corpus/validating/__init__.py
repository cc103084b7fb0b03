"""Measure, judge and split the records of a corpus, part by part."""
