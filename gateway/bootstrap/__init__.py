"""Bringing a Rocket.Chat server to where Nexus can work in it: each step found done, done now, or refused with its cure."""

from gateway.bootstrap.order import BootstrapError, Options, run
from gateway.bootstrap.steps import Step, Verdict

__all__ = ["BootstrapError", "Options", "Step", "Verdict", "run"]
