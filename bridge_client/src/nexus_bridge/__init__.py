"""The bridge: runs the agent CLIs of one developer and speaks to the team's hub."""

__version__ = "0.1.0"
