"""The report: a folder with one page that opens from disk, and what the page shows as data beside it."""
