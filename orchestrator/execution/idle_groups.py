"""Tickets of idle worker groups, by shape, and the segments that wait for one."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict

Ticket = tuple[str, int]
"""A group's id and generation; it can be out of date when it comes up."""


class IdleGroups:
    """First come, first served among the segments that need groups of one shape."""

    def __init__(self) -> None:
        self._tickets: defaultdict[str, asyncio.Queue[Ticket]] = defaultdict(asyncio.Queue)
        self._waiting: Counter[str] = Counter()

    def offer(self, shape: str, ticket: Ticket) -> None:
        """A group has nothing to do."""
        self._tickets[shape].put_nowait(ticket)

    async def take(self, shape: str, stopped: asyncio.Event) -> Ticket | None:
        """Wait for a ticket; None once the sweep is stopping."""
        self._waiting[shape] += 1
        ticket = asyncio.ensure_future(self._tickets[shape].get())
        stop = asyncio.ensure_future(stopped.wait())
        try:
            await asyncio.wait({ticket, stop}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._waiting[shape] -= 1
            stop.cancel()
        if stopped.is_set():
            ticket.cancel()
            return None
        return ticket.result()

    def waiting(self) -> dict[str, int]:
        """How many segments wait, by shape."""
        return {shape: count for shape, count in self._waiting.items() if count}
