"""Every table of Nexus in the admin site; chunks, whose key is composite, are seen through their invocation."""

from django.apps import apps
from django.contrib.admin import AdminSite
from django.db.models import CompositePrimaryKey, Model

from admin_ui.tables import bridges, knowledge, people, talk, work
from admin_ui.tables.base import LONG, Table

APPS = ("gateway", "composer", "runtime")


def register(site: AdminSite) -> None:
    for part in (people, talk, work, bridges, knowledge):
        part.register(site)
    for app in APPS:
        for model in apps.get_app_config(app).get_models():
            if not site.is_registered(model) and not isinstance(model._meta.pk, CompositePrimaryKey):
                site.register(model, _plain(model))


def _plain(model: type[Model]) -> type[Table]:
    """For a table that has no words of its own here: its short columns."""
    fields = [
        one for one in model._meta.concrete_fields if not one.is_relation and one.get_internal_type() not in LONG
    ]
    return type(f"{model.__name__}Table", (Table,), {"list_display": tuple(one.name for one in fields[:7])})
