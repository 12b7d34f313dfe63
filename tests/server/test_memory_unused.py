"""Is what Mem0 never needs here left out, and all it needs still there?"""

import subprocess
import sys

LOOK = """
import os, sys
os.environ["MEM0_TELEMETRY"] = "False"
from composer.memory import unused
unused.leave_out()
unused.leave_out()
from mem0 import Memory
import mem0.vector_stores.pgvector
assert Memory.from_config
loaded = {name.partition(".")[0] for name in sys.modules}
print(sorted(loaded & {"grpc", "openai", "portalocker"}), len(sys.modules["qdrant_client"].__dict__) < 20)
"""


def test_mem0_loads_without_the_packages_that_only_cost_memory(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", LOOK], capture_output=True, text=True, timeout=60, check=False,
        env={"MEM0_DIR": str(tmp_path), "HOME": str(tmp_path), "PYTHONPATH": ":".join(filter(None, sys.path))},
    )  # fmt: skip

    assert (done.returncode, done.stdout.strip()) == (0, "[] True"), done.stderr
