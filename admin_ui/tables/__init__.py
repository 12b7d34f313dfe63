"""Every table of Nexus in the admin site; chunks, whose key is composite, are seen through their invocation."""

from django.contrib.admin import AdminSite

from admin_ui.tables import knowledge, people, talk, work


def register(site: AdminSite) -> None:
    for part in (people, talk, work, knowledge):
        part.register(site)
