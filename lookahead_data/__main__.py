"""`python -m lookahead_data` is the command `lookahead-data`."""

from lookahead_data.cli import main

if __name__ == "__main__":
    main()
