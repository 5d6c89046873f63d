"""placeholder"""

REQUIRES = ("webdataset>=1.0,<2",)
