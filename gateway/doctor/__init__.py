"""What is wrong with this host, or soon will be, each with its cure? docs/doctor.md lists the checks."""

from gateway.doctor.examination import CHECKS, Result, examine, exit_code
from nexus_project.finding import Check, Finding, Grade

__all__ = ["CHECKS", "Check", "Finding", "Grade", "Result", "examine", "exit_code"]
