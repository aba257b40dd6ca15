"""`nomos demo`: an agent and its child against real servers, with evidence for each step."""
