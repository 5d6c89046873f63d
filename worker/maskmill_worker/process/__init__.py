"""Worker processes: their device, start, supervision, health and end."""
