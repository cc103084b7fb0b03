"""The settings of every stage, one module per part of the chain."""
