"""What every resource shares: lists, single rows with an ETag, and changes that name the ETag they have seen."""

import hashlib
from typing import Any, ClassVar

from django.db.models import Model, QuerySet
from drf_spectacular.utils import OpenApiParameter
from rest_framework import serializers
from rest_framework.exceptions import NotFound
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from gateway.api.errors import ChangedMeanwhileError
from gateway.api.lists import Filter, read_number

IF_MATCH = OpenApiParameter(
    "If-Match",
    str,
    OpenApiParameter.HEADER,
    required=False,
    description="The ETag you have read. Without it the last writer wins.",
)
ID_SCHEMA: dict[str, Any] = {"type": "integer", "minimum": 1, "maximum": 2**62}


class Rows(GenericViewSet[Any]):
    """A table; subclasses name `queryset`, `serializer_class` and `filters`."""

    filters: ClassVar[dict[str, Filter]] = {}
    volatile: ClassVar[frozenset[str]] = frozenset()
    """Fields that change by themselves and so don't count for the ETag."""

    also_answers: ClassVar[dict[str, tuple[int, ...]]] = {}
    after_schema: ClassVar[dict[str, Any]] = ID_SCHEMA
    lookup_value_regex = "[0-9]{1,18}"

    def read_after(self, text: str) -> Any:
        return read_number(text)

    def row(self) -> Any:
        """The row that the path names. Raises NotFound."""
        rows: QuerySet[Any] = self.get_queryset()
        found = rows.filter(pk=self.kwargs["pk"]).first()
        if found is None:
            raise NotFound(f"There is no {rows.model._meta.verbose_name} {self.kwargs['pk']}.")
        return found

    def shown(self, row: Model, *, status: int = 200) -> Response:
        data = self.get_serializer(row).data
        return Response(data, status=status, headers={"ETag": self.etag(data)})

    def etag(self, data: Any) -> str:
        lasting = {name: value for name, value in data.items() if name not in self.volatile}
        return f'"{hashlib.sha256(JSONRenderer().render(lasting)).hexdigest()[:32]}"'

    def check_match(self, request: Request, row: Model) -> None:
        """Raises ChangedMeanwhileError unless If-Match, where given, names this row as it is.

        In the caller's transaction, and under the row's lock: of two who have read the same, one is told.
        """
        given = request.headers.get("If-Match", "*").strip()
        if given == "*":
            return
        table: Any = type(row)
        table.objects.select_for_update(no_key=True).filter(pk=row.pk).first()
        if given != self.etag(self.get_serializer(self.row()).data):
            raise ChangedMeanwhileError

    def read(self, request: Request, kind: type[serializers.Serializer[Any]]) -> dict[str, Any]:
        """The checked body. Raises ValidationError."""
        form = kind(data=request.data if request.data is not None else {})
        form.is_valid(raise_exception=True)
        found: dict[str, Any] = form.validated_data
        return found


class Listed(Rows):
    """With GET on the table and on its rows."""

    def list(self, _request: Request) -> Response:
        """A page of them, newest first."""
        rows = self.paginate_queryset(self.filter_queryset(self.get_queryset()))
        return self.get_paginated_response(self.get_serializer(rows, many=True).data)

    def retrieve(self, _request: Request, pk: str) -> Response:
        """One of them; its ETag goes into If-Match of a change."""
        return self.shown(self.row())
