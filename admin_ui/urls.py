"""Paths below /admin/."""

from admin_ui import tables
from admin_ui.site import site

tables.register(site)

urlpatterns = site.get_urls()
