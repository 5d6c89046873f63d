"""What only a CUDA device shows (`make gpu`): `pytest tests/gpu --device cpu` runs the same code without one."""
