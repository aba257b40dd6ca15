"""Schema migrations of the database, one file each, run by `nomos.server.storage.migrate`."""
