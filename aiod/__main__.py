"""`python -m aiod`: the same as the `aiod` command."""

from aiod.cli import main

main()
