"""Client connections: limits, deadlines, request framing and allowed hosts."""
