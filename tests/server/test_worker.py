"""What does the command that runs workers say to what it cannot do?"""

import pytest
from django.core.management import CommandError, call_command


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["composer", "--queues", "compose,run"], "composer has the queues compose and memory"),
        (["runtime", "--queues", ","], "runtime has the queues run"),
        (["composer", "--processes", "0"], "a number from 1 to 64"),
        (["composer", "--processes", "65"], "a number from 1 to 64"),
        (["runtime", "--processes", "2"], "a runtime needs one"),
        (["composer", "--name", "two words"], "letters, digits, - and _ only"),
        (["composer", "--name", "composer@%h"], "letters, digits, - and _ only"),
        (["sweep"], "invalid choice: 'sweep'"),
    ],
)
def test_what_it_cannot_do_it_says(words, sentence):
    with pytest.raises(CommandError, match=sentence):
        call_command("worker", *words)
