"""A command-line program that does each thing a CLI should not do; standard library only.

`python evilcli.py SWITCH [ARGUMENT] ...` plays its switches in order. Whatever it starts inherits its environment, so a
mark in there finds all of it.
"""

import os
import signal
import subprocess
import sys
import time

FOREVER_S = 600


def say(text):
    os.write(1, text.encode() if isinstance(text, str) else text)


def sleeper(*, ignoring_signals=False, **options):
    """A child that lives on; without our output unless it is to hold it open."""
    code = f"import signal, time\n{'[signal.signal(n, signal.SIG_IGN) for n in (1, 2, 15)]' if ignoring_signals else ''}\ntime.sleep({FOREVER_S})"
    return subprocess.Popen([sys.executable, "-I", "-S", "-c", code], **options)


def apart(**options):
    return {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, **options}


def silent(_):
    """Prints nothing and never ends."""
    time.sleep(FOREVER_S)


def ignore_signals(_):
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


def child(_):
    sleeper(**apart())


def setsid_child(_):
    sleeper(ignoring_signals=True, **apart(start_new_session=True))


def double_fork(_):
    """A daemon: its parent is gone before we know it."""
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            sleeper(ignoring_signals=True, **apart())
            time.sleep(FOREVER_S)
        os._exit(0)
    os.wait()


def hold_output(_):
    """A grandchild in a session of its own keeps our output open after we have gone."""
    sleeper(ignoring_signals=True, start_new_session=True)


def stubborn_group(_):
    sleeper(ignoring_signals=True, **apart())


def fork_bomb(count):
    for _ in range(int(count)):
        if os.fork() == 0:
            time.sleep(FOREVER_S)
    time.sleep(FOREVER_S)


def eat_memory(mib):
    held = bytearray(int(mib) * 1024 * 1024)
    held[::4096] = b"x" * len(held[::4096])
    time.sleep(FOREVER_S)


def flood(size):
    left, block = int(size), b"x" * 65535 + b"\n"
    while left > 0:
        left -= os.write(1, block[:left])


def errors(size):
    left = int(size)
    while left > 0:
        left -= os.write(2, b"e" * min(left, 65536))
    os.write(2, b"\nthe last word\n")


def long_line(size):
    flood_line = b"y" * int(size) + b"\n"
    while flood_line:
        flood_line = flood_line[os.write(1, flood_line) :]


def drip(count):
    for number in range(int(count)):
        say("abcdefghij"[number % 10])
        time.sleep(0.01)


def noise(_):
    say(b"\xff\xfe\x00\x1b[31m\x9b\xe2\x82\x1b]0;never closed " + bytes(range(256)))


def broken_json(_):
    for line in (
        '{"type":',
        "[" * 10_000,
        '{"a":NaN}',
        '"text"',
        "{}",
        '{"type":"unheard-of"}',
        '{"type":7}',
        "warning: x",
    ):
        say(line + "\n")


def ask_password(_):
    say("Password: ")
    time.sleep(FOREVER_S)


def await_input(_):
    """Reads whatever comes and never has enough."""
    while os.read(0, 65536):
        pass
    time.sleep(FOREVER_S)


def open_editor(_):
    """What vi paints on a terminal with a second screen, before it waits for a key."""
    say("hint: Waiting for your editor...\r\n\x1b[?1049h\x1b[22;0;0t\x1b[1;24r\x1b[H\x1b[2J\x1b[?25l\x1b[24;1H")
    say('"COMMIT_EDITMSG" 13L, 225B\x1b[1;1H\x1b[34m~\x1b[3;1H~\x1b[24;63H1,0-1\x1b[1;1H\x1b[?25h')
    await_input("")


def lines(count):
    """All of them at once."""
    rest = "".join(f"line {number} of {count}\n" for number in range(1, int(count) + 1)).encode()
    while rest:
        rest = rest[os.write(1, rest) :]


def creep(count):
    """One byte a second."""
    for number in range(int(count)):
        say("abcdefghij"[number % 10])
        time.sleep(1)


def tell_secrets(size):
    """What an agent that reads its environment may say, `size` bytes at a time."""
    text = f"key {os.environ['THE_API_KEY']} and ghp_{'a1B2c3' * 6} and nxb_{'a' * 43}_0123abcd ok\n"
    for at in range(0, len(text), int(size)):
        say(text[at : at + int(size)])
        time.sleep(0.002)


def read_input(_):
    """Waits for a line and repeats its length."""
    received = b""
    while not received.endswith(b"\n"):
        data = os.read(0, 65536)
        if not data:
            break
        received += data
    say(f"read {len(received)}\n")


def count_reads(path):
    """Writes for ever, and into a file how much went out."""
    total = 0
    while True:
        total += os.write(1, b"z" * 65536)
        with open(path, "w") as file:  # noqa: PTH123
            file.write(str(total))


def end(code):
    sys.exit(int(code))


def main():
    words = sys.argv[1:]
    while words:
        name, *words = words
        act = globals()[name.lstrip("-").replace("-", "_")]
        argument = words.pop(0) if words and not words[0].startswith("-") else ""
        act(argument)


if __name__ == "__main__":
    main()
