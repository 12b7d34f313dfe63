"""Tables whose rows may be removed: one at a time, with a question, through `gateway.changes`."""

from typing import Any, ClassVar

from django.contrib import messages
from django.http import HttpRequest, HttpResponse

from admin_ui.tables.base import Table
from gateway import staff
from gateway.changes import ChangeError


class Removable(Table):
    refused: ClassVar[str] = "Nothing was forgotten"

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return staff.may_change(request.user)

    def remove(self, request: HttpRequest, obj: Any) -> None:
        """Through the function that API and commands use too. Raises ChangeError."""
        raise NotImplementedError

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        try:
            self.remove(request, obj)
        except ChangeError as error:
            request.nexus_refusal = str(error)  # type: ignore[attr-defined]

    def response_delete(self, request: HttpRequest, obj_display: str, obj_id: Any) -> HttpResponse:
        refusal = getattr(request, "nexus_refusal", "")
        if not refusal:
            response: HttpResponse = super().response_delete(request, obj_display, obj_id)
            return response
        messages.error(request, f"{self.refused}: {refusal}.")
        return self.redirect_to(obj_id)
