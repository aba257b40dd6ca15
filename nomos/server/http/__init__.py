"""HTTP parts of both servers: request ids, bodies, queries, errors, routes, limits."""
