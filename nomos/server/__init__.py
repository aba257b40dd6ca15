"""The control plane, the PDP and what they store."""
