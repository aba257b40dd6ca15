"""Statements of UCAN 1.0 policy as values: read, checked, worded and compared. Pure."""
