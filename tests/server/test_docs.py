"""Do the docs name everything there is? Every setting, table, frame, task, adapter and edge."""

import re
from pathlib import Path

import msgspec
import pytest
from django.apps import apps

from gateway import commands, pipeline
from gateway.invocations import EDGES
from nexus_bridge import protocol
from nexus_project.celery import app as celery_app

ROOT = Path(__file__).resolve().parents[2]
OUR_APPS = ("gateway", "composer", "runtime")
NEVER = (
    "channel",
    "conversation",
    "trigger",
    "provider",
    "backend",
    "episode",
    "digest_of_room",
    "bookmark",
    "broker",
)


def page(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def rows_of(name: str) -> str:
    """The first cells of a page's tables: being mentioned in passing is not being described."""
    return "\n".join(re.findall(r"^\| ((?:[^|\\]|\\.)+) \|", page(name), re.MULTILINE))


def section_of(frame: str) -> str:
    """What stands below the frame's own heading."""
    found = re.search(
        rf"^### [^\n]*`{frame}`[^\n]*\n(.*?)(?=^##|\Z)", page("docs/protocol.md"), re.MULTILINE | re.DOTALL
    )
    return found[0] if found else ""


def settings_names() -> list[str]:
    return sorted(set(re.findall(r'"(NEXUS_[A-Z0-9_]+)"', page("nexus_project/settings.py"))))


def tables() -> list[str]:
    return sorted(model._meta.db_table for app in OUR_APPS for model in apps.get_app_config(app).get_models())


def frames() -> list[type[msgspec.Struct]]:
    return [item for item in vars(protocol).values() if isinstance(item, type) and issubclass(item, protocol.Frame)]


@pytest.mark.parametrize("name", settings_names())
def test_every_setting_is_described(name):
    assert f"`{name}`" in rows_of("docs/settings.md")


@pytest.mark.parametrize("name", settings_names())
def test_every_setting_stands_in_the_example(name):
    assert re.search(rf"^#? ?{name}=", page(".env.example"), re.MULTILINE)


@pytest.mark.parametrize("name", sorted(commands.COMMANDS))
def test_every_command_is_described(name):
    assert re.search(rf"`!{name}\b", rows_of("docs/chat.md"))


@pytest.mark.parametrize("table", tables())
def test_every_table_is_described(table):
    assert f"`{table}`" in rows_of("docs/data-model.md")


@pytest.mark.parametrize("frame", [frame for frame in frames() if frame is not protocol.Frame])
def test_every_frame_and_field_is_described(frame):
    text = section_of(frame.__struct_config__.tag)

    missing = [name for name in (frame.__struct_config__.tag, *frame.__struct_fields__) if f"`{name}`" not in text]

    assert missing == []


@pytest.mark.parametrize(("source", "target"), list(EDGES))
def test_every_edge_is_described(source, target):
    assert f"| {source} | {target} | {EDGES[source, target]} |" in page("docs/architecture.md")


@pytest.mark.parametrize("name", [pipeline.COMPOSE_TASK, pipeline.RUN_TASK, pipeline.REMEMBER_TASK])
def test_every_task_that_the_pipeline_names_is_registered(name):
    celery_app.loader.import_default_modules()

    assert name in celery_app.tasks


def test_no_name_in_the_data_uses_a_word_the_glossary_forbids():
    names = [
        f"{model.__name__}.{field.name}".lower()
        for app in OUR_APPS
        for model in apps.get_app_config(app).get_models()
        for field in model._meta.get_fields()
    ]

    assert [name for name in names if any(word in name for word in NEVER)] == []


def test_links_between_pages_lead_somewhere():
    broken = [
        f"{path.relative_to(ROOT)} -> {target}"
        for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), ROOT / "bridge_client/README.md"]
        for target in re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", path.read_text(encoding="utf-8"))
        if not (path.parent / target).exists()
    ]

    assert broken == []
