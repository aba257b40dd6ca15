"""Nomos inside other frameworks, one file for each. Each needs its framework's extra."""
