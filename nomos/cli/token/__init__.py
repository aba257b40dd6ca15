"""`nomos token`: inspect and verify tokens without a server."""
