"""The benchmark's own child processes; people call ``adserver bench``."""

import argparse
import sys
from pathlib import Path

import msgspec

from adserver.bench import served, sized


def main() -> None:
    parser = argparse.ArgumentParser(prog="adserver.bench")
    parser.add_argument("what", choices=("built", "sized", "worst", "server", *served.KINDS))
    parser.add_argument("--line-items", type=int, default=1000)
    parser.add_argument("--number", type=int, default=1000)
    parser.add_argument("--image", type=Path, default=Path("image"), help="the file of a snapshot's image")
    parser.add_argument("--socket", type=int, default=-1, help="an inherited listening socket")
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--reply-bytes", type=int, default=1000)
    parser.add_argument("--redis", default="", help="its URL, for state in it")
    asked = parser.parse_args()
    if asked.what in served.KINDS:
        served.serve(asked.what, asked.socket, asked.data, asked.line_items, asked.reply_bytes, asked.redis)
        return
    found = _measured(asked.what, asked.line_items, asked.number, asked.image)
    sys.stdout.buffer.write(msgspec.json.encode(found))


def _measured(what: str, line_items: int, number: int, image: Path) -> object:
    if what == "built":
        return sized.built(line_items, image)
    if what == "sized":
        return sized.sized(image, number)
    return sized.worst(number) if what == "worst" else sized.server(line_items, number)


if __name__ == "__main__":
    main()
