"""The data folder of a server: its layout, its lock, and whether its contents belong together."""
