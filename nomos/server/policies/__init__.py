"""The policies of a server: read from files, stored as versions, one of them active."""
