"""From what a user typed to pixels: sources, lists, fetching, decoding."""
