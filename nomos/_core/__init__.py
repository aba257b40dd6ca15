"""Protocol logic without I/O, clock or randomness: requests, replies, flows, verification."""
