"""The control plane: decides questions, signs grants and records both. Routes are in `routes`."""
