"""I/O: HTTP, the signing binary's pipes, files and threads. It makes no access decisions."""
