"""`nomos policy`: check, test and explain Cedar policies, and manage their versions on a server."""
