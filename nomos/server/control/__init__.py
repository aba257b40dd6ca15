"""The control plane: decides, signs, and keeps the record of it."""
