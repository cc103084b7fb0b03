"""Judge data and tensors by expectation suites."""
