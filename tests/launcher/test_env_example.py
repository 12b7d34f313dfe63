"""Does .env.example name every setting, and nothing that is none?"""

import re

from docker.programs import CHECKOUT


def test_the_example_names_exactly_the_settings() -> None:
    settings = (CHECKOUT / "nexus_project/settings.py").read_text()
    example = (CHECKOUT / ".env.example").read_text()

    read = set(re.findall(r'_env\.\w+\(\s*"(NEXUS_\w+)"', settings))
    named = set(re.findall(r"^#?(NEXUS_\w+)=", example, re.MULTILINE))

    assert named == read


def test_the_example_holds_no_secret() -> None:
    example = (CHECKOUT / ".env.example").read_text()

    filled = re.findall(r"^#?NEXUS_\w*(?:KEY|TOKEN|PASSWORD)=(.+)", example, re.MULTILINE)

    assert filled == []
