#!/usr/bin/env python3
"""Runs Django's management commands, Nexus's own among them."""

import sys

from nexus_project.command_line import main

if __name__ == "__main__":
    sys.exit(main(sys.argv))
