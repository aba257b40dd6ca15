"""Token verification in web frameworks, one module each, and what they share."""
