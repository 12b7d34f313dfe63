"""How does a program of a running world get a second process of its kind?"""

from collections.abc import Mapping
from dataclasses import replace

from docker.ports import free_ports
from docker.process import Process
from tests.world.world import World


def add_twin(world: World, name: str) -> str:
    """NAME-2, running; it shares everything with the first but its ports and, of a worker, its name."""
    process = world.stack._table().named(name)
    port, watch_port = free_ports(2)
    twin = f"{name}-2"
    argv = tuple(str(port) if word == str(world.stack.ports.gateway) else word for word in process.argv)
    if "worker" in argv:
        argv += (f"--name={twin}",)
    made = replace(process, name=twin, argv=argv, env=_env(process, watch_port=watch_port), ready=None)
    world.stack.add(made)
    return str(port)


def _env(process: Process, *, watch_port: int) -> Mapping[str, str]:
    return {**process.env, "NEXUS_WATCH_PORT": str(watch_port)}
