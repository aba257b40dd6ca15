"""The PDP: the gate that verifies, decides and performs calls, and the providers behind it."""
