"""Recognise what a row holds, and put it into the shape of its kind."""
