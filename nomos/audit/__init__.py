"""The audit log as values: records, hash chains, checkpoints, exports, verification. Pure."""
