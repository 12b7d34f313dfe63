#!/usr/bin/env python3
"""Runs Django's management commands, Nexus's own among them."""

import os
import sys

from django.core.management import execute_from_command_line

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "nexus_project.settings")
    execute_from_command_line(sys.argv)
