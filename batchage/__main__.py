"""`python -m batchage`."""

from batchage.command import main

main()
