"""`python -m transmodal` is the command line."""

from transmodal.cli import main

if __name__ == "__main__":
    main()
