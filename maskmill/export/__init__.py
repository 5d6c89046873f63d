"""Results in the forms that other tools open: one module a format, over one stream of images."""
