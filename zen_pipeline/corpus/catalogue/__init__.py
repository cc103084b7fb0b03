"""Public data sets by name: what is known about them, how they are downloaded, and where they lie."""
