"""Figures: one script per path, each shown beside its goal."""

import os

# What the measuring process itself would log hides the figures; the processes measured log as they do for a team.
os.environ.setdefault("NEXUS_LOG_LEVEL", "ERROR")
