"""The control plane, the PDP and their storage."""
