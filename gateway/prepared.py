"""Statements that are prepared once per connection and sent several at a time, over psycopg's own layer to libpq.

A psycopg cursor takes three times as long for the same, and two dozen of them stand between a question and its agent.
"""

import itertools
import re
import select
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, LiteralString

import psycopg
from psycopg import errors, pq
from psycopg.adapt import PyFormat, Transformer

Rows = list[tuple[Any, ...]]
Statement = tuple[LiteralString, Sequence[Any]]
"""With `%s` for each parameter, and `%%` for a percent sign."""

MAX_NAMES: Final = 300
"""Prepared on a connection; a statement counts once for each way of typing its parameters. Above it the least used go."""

_DONE: Final = (pq.ExecStatus.TUPLES_OK, pq.ExecStatus.COMMAND_OK)
_numbers: Final = itertools.count(1)

_Key = tuple[str, tuple[int, ...]]
"""A statement and the types of its parameters."""


@dataclass(frozen=True, slots=True)
class Result:
    """`touched`: rows that were found, inserted, updated or deleted."""

    rows: Rows
    touched: int


@dataclass(slots=True)
class Flight:
    """Statements that were sent and not yet answered; `expected` names each, those beside what was asked for with None."""

    expected: list[tuple[_Key | None, bool]]
    results: list[Result] | None = None
    failed: psycopg.Error | None = None


class Statements:
    """Those of one connection, for one thread at a time.

    Whatever interrupts it in the middle of an answer closes the connection: nobody could tell what the next answer is to.
    """

    def __init__(self, raw: "psycopg.Connection[Any]") -> None:
        self.raw = raw
        self._pg = raw.pgconn
        self._adapt = Transformer(raw)
        self._names: OrderedDict[_Key, bytes] = OrderedDict()
        self._flight: Flight | None = None
        self._poll = select.poll()

    def send(self, statements: Sequence[Statement]) -> Flight:
        """All in one go. Begins a transaction where psycopg would. What is under way is received first."""
        if self._flight is not None:
            self.receive(self._flight)
        # What can't be told to Postgres is found out before anything is sent.
        bound = [self._bound(text, parameters) for text, parameters in statements]
        try:
            return self._send(bound)
        except BaseException:
            self.raw.close()
            raise

    def receive(self, flight: Flight) -> list[Result]:
        """What each statement answered, in their order; raises the error of the first that failed."""
        if flight.results is None:
            self._flight = None
            try:
                flight.results, flight.failed = self._receive(flight)
            except BaseException:
                self.raw.close()
                raise
        if flight.failed is not None:
            raise flight.failed
        return flight.results

    def _bound(self, text: str, parameters: Sequence[Any]) -> tuple[_Key, Sequence[Any], Sequence[pq.Format]]:
        values = self._adapt.dump_sequence(parameters, [PyFormat.AUTO] * len(parameters))
        return (text, self._adapt.types or ()), values, self._adapt.formats or ()

    def _send(self, bound: Sequence[tuple[_Key, Sequence[Any], Sequence[pq.Format]]]) -> Flight:
        pg = self._pg
        expected: list[tuple[_Key | None, bool]] = []
        pg.enter_pipeline_mode()
        if not self.raw.autocommit and pg.transaction_status == pq.TransactionStatus.IDLE:
            pg.send_query_params(b"BEGIN", None)
            expected.append((None, False))
        for key, values, formats in bound:
            name = self._names.get(key)
            if name is None:
                if len(self._names) >= MAX_NAMES:
                    _, least_used = self._names.popitem(last=False)
                    pg.send_query_params(b"DEALLOCATE " + least_used, None)
                    expected.append((None, False))
                name = self._names[key] = b"nexus_%d" % next(_numbers)
                pg.send_prepare(name, _numbered(key[0]), key[1])
                expected.append((key, False))
            self._names.move_to_end(key)
            pg.send_query_prepared(name, values, formats)
            expected.append((key, True))
        pg.pipeline_sync()
        while pg.flush():
            self._wait(select.POLLIN | select.POLLOUT)
        self._flight = Flight(expected)
        return self._flight

    def _receive(self, flight: Flight) -> tuple[list[Result], psycopg.Error | None]:
        results: list[Result] = []
        failed: psycopg.Error | None = None
        for key, is_asked in flight.expected:
            result = self._next()
            self._pg.get_result()  # nothing: the end of this one
            if result.status in _DONE:
                if is_asked:
                    results.append(self._result(result))
                continue
            if result.status == pq.ExecStatus.FATAL_ERROR and failed is None:
                failed = errors.error_from_result(result)
            # Prepared or not, and perhaps for a table that looks otherwise now: anew the next time.
            self._names.pop(key, None)  # type: ignore[arg-type]  # None is no key
        while self._next().status != pq.ExecStatus.PIPELINE_SYNC:
            pass
        self._pg.exit_pipeline_mode()
        return results, failed

    def _result(self, result: pq.abc.PGresult) -> Result:
        self._adapt.set_pgresult(result)
        rows: Rows = self._adapt.load_rows(0, result.ntuples, tuple)
        return Result(rows, result.command_tuples or 0)

    def _next(self) -> pq.abc.PGresult:
        pg = self._pg
        while pg.is_busy():
            self._wait(select.POLLIN)
        result = pg.get_result()
        if result is None:
            raise psycopg.OperationalError("the connection to Postgres is lost")
        return result

    def _wait(self, what: int) -> None:
        self._poll.register(self._pg.socket, what)
        if any(event & ~select.POLLOUT for _, event in self._poll.poll()):
            self._pg.consume_input()


@cache
def _numbered(text: str) -> bytes:
    """With $1, $2 … for %s, as Postgres counts."""
    places = itertools.count(1)
    return re.sub(r"%(.)", lambda found: f"${next(places)}" if found[1] == "s" else found[1], text).encode()
