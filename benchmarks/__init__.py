"""Benchmarks A to N: `make bench`, or `python -m benchmarks A H` for some; ratios in one run on one machine.

Each module has `TITLE` and `run() -> Result`, and runs in a process of its own. `results/` keeps the JSON,
`docs/benchmarks.md` the table.

`BENCH_SCALE=0.1` shrinks A to E for a trial run; what is kept is measured at 1. Images and models are made once, in
`maskmill-benchmarks-<uid>` of the system's temporary folder.
"""
