"""The machinery of the chain: what a stage is, how a run goes, what it would do, what is swept away."""
