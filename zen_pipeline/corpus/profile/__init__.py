"""Describe a data set by counts, and compare two of them."""
