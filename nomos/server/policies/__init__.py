"""The policies of a server: read from files, kept as versions, and the version that decides now."""
