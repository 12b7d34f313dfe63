"""A stand-in for Rocket.Chat, for trying Nexus and for its tests: the doors real clients knock on, nothing of Nexus inside."""
