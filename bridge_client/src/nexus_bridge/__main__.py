"""`python -m nexus_bridge` is `nexus-bridge`."""

import sys

from nexus_bridge.cli import main

sys.exit(main())
