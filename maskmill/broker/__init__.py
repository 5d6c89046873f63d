"""The broker as both of its clients see it: its address, connections to it, and what its errors mean."""
