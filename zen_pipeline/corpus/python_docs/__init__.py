"""The source `python_docs`: the documentation of the Python installation in use."""
