"""`python -m zen_pipeline` is the `zen` command."""

from zen_pipeline.cli import main

main()
