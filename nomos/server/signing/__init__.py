"""The private keys of a server: key files, the issuer key of each tenant, rotation."""
