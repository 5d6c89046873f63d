"""Benchmarks A to N: `make bench`, or `python -m benchmarks A H` for some; ratios in one run on one machine.

Each module has `TITLE` and `run() -> Result`, and runs in a process of its own. `results/` keeps the JSON,
`docs/benchmarks.md` the table. One that fails, or runs too long, says so in its row and ends no other.

`make bench-quick` has all rows at a reduced size, below `build/bench-quick`: whether everything runs, and about how
fast. Images and models are made once, in `maskmill-benchmarks-<uid>` of the system's temporary folder.
"""
