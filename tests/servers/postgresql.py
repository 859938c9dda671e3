"""PostgreSQL in a test."""

import os
import pwd
import signal
import subprocess
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, LiteralString, Self

import psycopg
from psycopg import sql

from servers import programs
from servers.server import Server

ROLE = "adserver"
"""Owns the databases and is nobody special otherwise, as in production."""
SUPERUSER = "postgres"
_MODES = {"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT}
"""Of ``pg_ctl stop -m``, which sends these and no more."""
_ASK_S = 10


class Postgres(Server):
    """A cluster of its own in ``folder``, made when it is first started. What is committed is on disk:
    ``fsync`` and ``synchronous_commit`` are as installed, on. ``settings``: of the server, over those."""

    name = "PostgreSQL"

    def __init__(self, folder: Path, settings: Mapping[str, str] | None = None) -> None:
        super().__init__(folder)
        self._data = folder / "data"
        self._settings = dict(settings or {})
        self._names = 0

    def start(self) -> Self:
        fresh = not self._data.exists()
        if fresh:
            self._init()
        super().start()
        if fresh:
            self.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(ROLE)))
        return self

    def identity(self) -> list[str]:
        if os.geteuid() != 0:
            return []
        return [f"--reuid={self._user.pw_uid}", f"--regid={self._user.pw_gid}", "--clear-groups"]

    def command(self) -> list[str]:
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": "",
            "timezone": "UTC",
            "log_line_prefix": "%m [%p] %d ",
        } | self._settings
        options = [f"-c{name}={value}" for name, value in settings.items()]
        return [str(programs.postgres("postgres")), "-D", str(self._data), *options]

    def ready(self) -> bool:
        try:
            self.execute("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True

    def shut(self, mode: str = "fast") -> None:
        """``pg_ctl stop -m``: ``smart``, ``fast`` or ``immediate``."""
        self.stop(_MODES[mode])

    # -- asking ------------------------------------------------------------------------------------

    def url(self, database: str, role: str = ROLE) -> str:
        return f"postgresql://{role}@127.0.0.1:{self.port}/{database}"

    def connect(self, database: str = "postgres", role: str = SUPERUSER) -> psycopg.Connection[Any]:
        """In autocommit. Closed by ``with``."""
        return psycopg.connect(self.url(database, role), autocommit=True, connect_timeout=_ASK_S)

    def execute(
        self, statement: LiteralString | sql.Composed, database: str = "postgres"
    ) -> list[tuple[Any, ...]]:
        """The rows of a statement of the superuser's."""
        with self.connect(database) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def create(self, template: str = "template1") -> str:
        """The URL of a new database, a copy of ``template``."""
        self._names += 1
        name = f"test_{self._names}"
        self.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {} OWNER {}").format(
                sql.Identifier(name), sql.Identifier(template), sql.Identifier(ROLE)
            )
        )
        return self.url(name)

    def drop(self, url: str) -> None:
        """Drop the database of ``create``, whoever is connected to it."""
        name = url.rpartition("/")[2]
        self.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))

    def configure(self, name: str, value: str) -> None:
        """Change a setting, from now on and over restarts."""
        change = sql.SQL("ALTER SYSTEM SET {} = {}").format(sql.Identifier(name), sql.Literal(value))
        self.execute(change)
        self.execute("SELECT pg_reload_conf()")

    # -- its cluster -------------------------------------------------------------------------------

    def _init(self) -> None:
        """``initdb``. The folder belongs to an unprivileged user: PostgreSQL refuses to run as root."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.identity():
            os.chown(self.folder, self._user.pw_uid, self._user.pw_gid)
        initdb = programs.postgres("initdb")
        made = subprocess.run(
            [programs.setpriv(), *self.identity(), "--", initdb, "-D", self._data,
             "-U", SUPERUSER, "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8",
             "--no-sync", "--no-instructions"],
            capture_output=True, text=True, cwd=self.folder,
        )  # fmt: skip
        if made.returncode:
            raise RuntimeError(f"initdb failed:\n{made.stdout}{made.stderr}")

    @cached_property
    def _user(self) -> pwd.struct_passwd:
        names = {user.pw_name: user for user in pwd.getpwall()}
        return names.get("postgres") or names["nobody"]
