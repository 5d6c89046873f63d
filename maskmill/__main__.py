"""`python -m maskmill` is the `maskmill` command."""

from maskmill_producer.entry import main

if __name__ == "__main__":
    main()
