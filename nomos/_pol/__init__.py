"""UCAN 1.0 policy statements as values: parsed, validated, worded and compared. Pure."""
