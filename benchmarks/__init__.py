"""Benchmarks A to H: `make bench`, or `python -m benchmarks A H` for some; ratios in one run on one machine.

Each module has `TITLE` and `run() -> Result`, and runs in a process of its own. `results/` keeps the JSON,
`docs/benchmarks.md` the table.
"""
