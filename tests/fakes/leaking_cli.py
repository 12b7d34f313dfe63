"""An echo CLI that says secrets, as a CLI may that prints its environment or a file: in every event, whole and in pieces.

Usage: leaking_cli.py SECRETS_FILE [what the echo adapter adds]. A question with "die" in it ends with a secret on stderr.
"""

import os
import sys
from pathlib import Path

from nexus_bridge import echo_cli

PIECE = 7


class LeakingEcho(echo_cli.Echo):
    """`secrets` are lines of a file; what stands in variables named LEAK_... is said as well."""

    def __init__(self, *, secrets: Path) -> None:
        super().__init__(scripted=False, pace_s=0.0, session="echo-" + os.urandom(8).hex())
        environment = [value for name, value in os.environ.items() if name.startswith("LEAK_")]
        self.secrets = [*secrets.read_text(encoding="utf-8").splitlines(), *environment]

    def play(self, prompt: str) -> None:
        self.said = 0
        question, _ = echo_cli.read_prompt(prompt)
        if "die" in question:
            os.write(2, "\n".join(self.secrets).encode())
            sys.exit(3)
        for number, secret in enumerate(self.secrets):
            self.leak(str(number), secret)
        self.text("That was all.")
        self.say("done", status="ok")

    def leak(self, identity: str, secret: str) -> None:
        tool = {"id": identity, "name": "shell", "tool": "execute"}
        self.say("thinking", delta=f"the key is {secret} ")
        self.say("tool_call", **tool, title=f"login {secret}", input=f"login --key={secret}")
        self.say("tool_result", id=identity, ok=False, output=f"{secret} was refused")
        self.say("notice", level="warning", text=f"{secret} is old")
        self.text(f"It is {secret} now.\n", piece=PIECE)
        self.text(f"Again: {secret}\n", piece=1_000)


if __name__ == "__main__":
    if "--version" in sys.argv:
        os.write(1, b"echo 1.0 leaking\n")
    else:
        LeakingEcho(secrets=Path(sys.argv[1])).run()
