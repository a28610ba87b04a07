"""`python -m watchdog` is the command line."""

from watchdog.cli import main

if __name__ == "__main__":
    main()
