"""Figures: one script per path, each shown beside its goal."""
