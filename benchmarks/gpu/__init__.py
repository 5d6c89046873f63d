"""`python -m benchmarks gpu`: exactness, faults and speed on a CUDA device, in pieces that each keep what they find.

`--device cpu` is a dry run: small models, few images, the same code. `make gpu` is the same command.
"""
