"""The benchmark's own child processes; people call ``adserver bench``."""

import argparse
import sys
from pathlib import Path

import msgspec

from adserver.bench import served, sized


def main() -> None:
    parser = argparse.ArgumentParser(prog="adserver.bench")
    parser.add_argument("what", choices=("sized", "worst", "server", *served.KINDS))
    parser.add_argument("--line-items", type=int, default=1000)
    parser.add_argument("--number", type=int, default=1000)
    parser.add_argument("--socket", type=int, default=-1, help="an inherited listening socket")
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--reply-bytes", type=int, default=1000)
    asked = parser.parse_args()
    if asked.what in served.KINDS:
        served.serve(asked.what, asked.socket, asked.data, asked.line_items, asked.reply_bytes)
        return
    if asked.what == "worst":
        found: object = sized.worst(asked.number)
    else:
        measure = sized.sized if asked.what == "sized" else sized.server
        found = measure(asked.line_items, asked.number)
    sys.stdout.buffer.write(msgspec.json.encode(found))


if __name__ == "__main__":
    main()
