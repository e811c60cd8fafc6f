"""A member's state on disk: an SQLite file that follows the store a little behind, in whole transactions.

The hot path only notes what changed; every half second the changed objects are written by a thread. After a
crash the member is as it was at the last write; a clean stop loses nothing.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from simulator import objects
from simulator.objects import Object
from simulator.store import Change, Store

logger = logging.getLogger(__name__)

EVERY = 0.5  # real seconds between writes
CRASH_GAP = 1_000_000  # resourceVersions skipped after a crash: none that a client has seen is given twice

Row = tuple[str, str, str, bytes | None]  # shelf, namespace, name, JSON (None: gone)

_SCHEMA = """
CREATE TABLE IF NOT EXISTS objects (
    shelf TEXT, namespace TEXT, name TEXT, body BLOB, PRIMARY KEY (shelf, namespace, name)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT);
"""


class Disk:
    """One member's file, `<folder>/state.sqlite`."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "state.sqlite"
        self._dirty: dict[tuple[str, str, str], None] = {}
        self._store: Store | None = None
        folder.mkdir(parents=True, exist_ok=True)
        with closing(self._open()) as database:
            database.executescript(_SCHEMA)

    def _open(self) -> sqlite3.Connection:
        database = sqlite3.connect(self._path)
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("PRAGMA synchronous=NORMAL")
        return database

    def meta(self, key: str) -> str | None:
        """A remembered setting."""
        with closing(self._open()) as database:
            row = database.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return None if row is None else str(row[0])

    def remember(self, key: str, value: str) -> None:
        with closing(self._open()) as database, database:
            database.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

    def load(self, store: Store) -> bool:
        """Fill an empty store. False when nothing was kept."""
        version, clean = self.meta("version"), self.meta("clean") == "yes"
        self.remember("clean", "no")
        if version is None:
            return False
        with closing(self._open()) as database:
            store.restore(int(version) + (0 if clean else CRASH_GAP), self._entries(database))
        return True

    async def close(self) -> None:
        """Write what is left and note that nothing was lost."""
        await self.flush()
        if not self._dirty:
            self.remember("clean", "yes")

    def _entries(self, database: sqlite3.Connection) -> Iterator[tuple[str, Object]]:
        for shelf, body in database.execute("SELECT shelf, body FROM objects"):
            yield shelf, json.loads(body)

    def follow(self, store: Store) -> None:
        """Note every change from now on."""
        self._store = store
        store.subscribe(self._note)

    def _note(self, change: Change) -> None:
        key = (change.shelf, objects.namespace(change.object), objects.name(change.object))
        self._dirty[key] = None

    async def run(self) -> None:
        """Write every half second until cancelled."""
        while True:
            await asyncio.sleep(EVERY)
            await self.flush()

    async def flush(self) -> None:
        """Write what has changed, all of it or nothing."""
        if not self._dirty or self._store is None:
            return
        dirty, self._dirty = self._dirty, {}
        version = self._store.version
        rows = [(*key, self._body(self._store, key)) for key in dirty]
        try:
            await asyncio.to_thread(self._write, version, rows)
        except sqlite3.Error:
            logger.exception("%s could not be written; tried again in %s s", self._path, EVERY)
            self._dirty = dirty | self._dirty

    @staticmethod
    def _body(store: Store, key: tuple[str, str, str]) -> bytes | None:
        record = store.record(*key)
        return None if record is None else record.encoded

    def _write(self, version: int, rows: list[Row]) -> None:
        with closing(self._open()) as database, database:
            gone = [row[:3] for row in rows if row[3] is None]
            kept = [row for row in rows if row[3] is not None]
            database.executemany("DELETE FROM objects WHERE shelf=? AND namespace=? AND name=?", gone)
            database.executemany("INSERT OR REPLACE INTO objects VALUES (?, ?, ?, ?)", kept)
            database.execute("INSERT OR REPLACE INTO meta VALUES ('version', ?)", (str(version),))
