"""`python -m mnv3c`."""

from mnv3c.cli.app import main

if __name__ == "__main__":
    main()
