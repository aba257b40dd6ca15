"""UCAN 1.0 policy statements as values: read, validated and worded. Pure."""
