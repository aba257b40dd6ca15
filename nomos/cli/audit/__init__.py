"""`nomos audit`: follow, export and verify the audit log."""
