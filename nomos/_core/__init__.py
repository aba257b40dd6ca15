"""Pure: what to send, what an answer means, when to try again. No I/O, clock or randomness."""
