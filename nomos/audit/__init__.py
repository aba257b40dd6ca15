"""The record of what happened, and how anyone can prove it: pure, needs no server."""
