"""The edges: processes, sockets, files. Nothing here decides anything."""
