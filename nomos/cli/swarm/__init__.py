"""`nomos swarm`: agents and the authority that they delegated."""
