"""The server's database: one file per aggregate, one transaction per reply."""
