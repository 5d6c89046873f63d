"""placeholder"""

REQUIRES = ("label-studio-sdk>=2.1,<3",)
