"""What the server remembers: one file per aggregate, one transaction per answer."""
