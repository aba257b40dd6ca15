"""The private keys of a server, which one signs for each tenant, and how they are rotated."""
