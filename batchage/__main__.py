"""`python -m batchage`."""

from batchage.cli import main

main()
