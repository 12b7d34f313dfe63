"""How Nexus is run: in containers for a team, or embedded, without Docker, for trying it and for tests."""
