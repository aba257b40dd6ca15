"""The data folder of a server: its layout, its lock, and its consistency checks."""
