"""A program that only speaks to a terminal: reads a prompt from it, answers in coloured text. The agent @shell-echo.

Standard library only. The prompt ends with the end-of-file sign (Ctrl-D); a raw terminal hands it over as a byte.
"""

import os
import sys
import time

# Started with `python -I -S` its own package is not on the path.
sys.path.append(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))  # noqa: PTH100, PTH120 - start-up time

from nexus_bridge.echo_cli import answer_to, read_prompt

END_OF_PROMPT = b"\x04"
PACE_S = 0.02
WHOLE_ANSWER_S = 1.5
"""A long answer goes faster: nobody wants to wait for an echo."""
BOLD, GREEN, DIM, PLAIN = "\x1b[1m", "\x1b[32m", "\x1b[2m", "\x1b[0m"


def read_terminal() -> str:
    received = bytearray()
    while not received.endswith(END_OF_PROMPT):
        data = os.read(0, 65536)
        if not data:
            break
        received += data
    return received.rstrip(END_OF_PROMPT).decode("utf-8", "replace")


def write(text: str) -> None:
    data = text.encode("utf-8", "replace")
    while data:
        data = data[os.write(1, data) :]


def main() -> None:
    if "--version" in sys.argv:
        write("shell-echo 1.0\n")
        return
    prompt = read_terminal()
    question, quotes = read_prompt(prompt)
    where = "a terminal" if os.isatty(0) else "a pipe"
    write(f"{DIM}{len(prompt)} characters came by {where}.{PLAIN}\n\n")
    answer = answer_to(question, quotes)
    pause_s = min(PACE_S, WHOLE_ANSWER_S / len(answer.split(" ")))
    for line in answer.splitlines():
        colour = GREEN if line.startswith("- ") else BOLD
        for word in line.split(" "):
            write(f"{colour}{word}{PLAIN} ")
            time.sleep(pause_s)
        write("\r\n")


if __name__ == "__main__":
    try:
        main()
    except (BrokenPipeError, KeyboardInterrupt):
        sys.exit(130)
