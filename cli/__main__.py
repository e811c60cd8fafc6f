"""`python -m cli` is `brim`."""

from cli.main import main

main()
