"""The HTTP edge that the control plane and the PDP share: ids, bodies, errors, routes, limits."""
