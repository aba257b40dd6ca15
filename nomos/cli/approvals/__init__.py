"""`nomos approvals`: list, show and decide what agents ask people for."""
