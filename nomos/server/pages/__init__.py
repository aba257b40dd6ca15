"""The approval pages of the control plane, rendered on the server without scripts."""
