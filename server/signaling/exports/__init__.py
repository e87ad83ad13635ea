"""Exports that pages ask for: `handlers` of HTTP, their `queue`, one `export`, its `process`."""

#: In the data directory.
FOLDER = "exports"
