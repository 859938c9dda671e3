"""Certificates of a test's own authority, for servers on the loopback and for clients."""

import subprocess
from pathlib import Path

from servers import programs

_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


class Authority:
    """``folder``: where it keeps what it makes; ``file``: who it is."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.file, self._key = self._made("authority", "basicConstraints=critical,CA:TRUE")

    def issued(self, name: str, host: str = "IP:127.0.0.1") -> tuple[Path, Path]:
        """(certificate, key) of who is reached at ``host``."""
        by = ("-CA", str(self.file), "-CAkey", str(self._key))
        return self._made(name, f"subjectAltName={host}", "-addext", "basicConstraints=CA:FALSE", *by)

    def _made(self, name: str, extension: str, *more: str) -> tuple[Path, Path]:
        certificate, key = self._folder / f"{name}.crt", self._folder / f"{name}.key"
        command = [
            str(programs.openssl()), "req", "-x509", *_KEY, "-days", "2", "-subj", f"/CN={name}",
            "-addext", extension, *more, "-keyout", str(key), "-out", str(certificate),
        ]  # fmt: skip
        subprocess.run(command, check=True, capture_output=True)
        return certificate, key
