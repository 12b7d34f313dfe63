"""Which Nexus is this? The one place that knows; a test compares it with the packages."""

VERSION = "0.1.0"
