"""``closed.py FOLDER COMMAND...``: run it as closed as it is deployed. Nothing outside ``FOLDER`` can be
written, it has no rights, gets none, and makes no memory executable (what systemd and containers do, as far
as the kernel does it for a process of its own). Must be root; exit code 77 where that is not allowed."""

import ctypes
import os
import sys
from pathlib import Path

_NEW_MOUNTS = 0x0002_0000
_READ_ONLY, _REMOUNT, _BIND, _RECURSIVE, _PRIVATE = 1, 32, 4096, 16_384, 1 << 18
_DENY_WRITE_EXECUTE = 65
_OTHER = ("proc", "sysfs", "devpts", "cgroup", "cgroup2", "mqueue", "securityfs", "debugfs", "tracefs", "bpf")
NOT_ALLOWED = 77

_libc = ctypes.CDLL(None, use_errno=True)


def allowed(result: int) -> None:
    if result != 0:
        print(os.strerror(ctypes.get_errno()), file=sys.stderr)
        sys.exit(NOT_ALLOWED)


def main(folder: str, *command: str) -> None:
    Path(folder).mkdir(parents=True, exist_ok=True)
    folder = str(Path(folder).resolve())
    allowed(_libc.unshare(_NEW_MOUNTS))
    allowed(_libc.mount(b"none", b"/", None, _RECURSIVE | _PRIVATE, None))
    allowed(_libc.mount(folder.encode(), folder.encode(), None, _BIND, None))
    for _, where, kind, *_ in map(str.split, Path("/proc/self/mounts").read_text().splitlines()):
        if where != folder and kind not in _OTHER:
            allowed(_libc.mount(b"none", where.encode(), None, _REMOUNT | _BIND | _READ_ONLY, None))
    allowed(_libc.prctl(_DENY_WRITE_EXECUTE, 1, 0, 0, 0))
    rights = ("--bounding-set=-all", "--inh-caps=-all", "--no-new-privs")
    os.execvp("setpriv", ("setpriv", *rights, "--", *command))


if __name__ == "__main__":
    main(*sys.argv[1:])
