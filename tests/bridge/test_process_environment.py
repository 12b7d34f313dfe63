"""What of the bridge's environment does a CLI see?"""

from nexus_bridge.environment import clean_env


def test_only_listed_names_come_through():
    inherited = {
        "PATH": "/bin",
        "HOME": "/h",
        "LC_ALL": "C",
        "https_proxy": "p",
        "SECRET": "s",
        "MY_KEY": "k",
        "MY_OTHER": "o",
    }

    env = clean_env(inherited=inherited, names=["MY_*"])

    assert set(env) == {
        "PATH",
        "HOME",
        "LC_ALL",
        "https_proxy",
        "MY_KEY",
        "MY_OTHER",
        "LANG",
        "TERM",
        "NO_COLOR",
        "CI",
    }


def test_our_own_and_dangerous_names_never_do_even_when_a_list_matches():
    inherited = {"CLAUDECODE": "1", "NEXUS_BRIDGE_TOKEN": "x", "LD_PRELOAD": "x", "DYLD_INSERT_LIBRARIES": "x"}

    env = clean_env(inherited=inherited, names=["*"])

    assert not set(inherited) & set(env)


def test_a_terminal_that_can_do_nothing_is_announced():
    env = clean_env(inherited={"TERM": "xterm-256color"})

    assert (env["TERM"], env["NO_COLOR"], env["CI"]) == ("dumb", "1", "1")


def test_what_the_owner_sets_counts_most():
    assert clean_env(inherited={}, extra={"TERM": "xterm", "NEXUS_X": "mine"})["TERM"] == "xterm"
