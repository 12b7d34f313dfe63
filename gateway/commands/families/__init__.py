"""One file per family of commands; each registers its words and its signs with `gateway.commands.registry`."""
