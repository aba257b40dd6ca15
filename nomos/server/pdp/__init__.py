"""The PDP: the gate that a call goes through, and what lies behind it."""
