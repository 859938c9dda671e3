"""The numbers on the terminal: a live table where there is one to draw on, else a line now and then."""

from collections import deque
from time import monotonic
from typing import Any, Final

from rich import box
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from adserver.demo.score import Score
from adserver.demo.traffic import Traffic
from adserver.domain.inventory import FeedPolicy

REFRESH_S: Final = 0.5
LINE_S: Final = 5.0
_WINDOW_S: Final = 3.0
_BAR: Final = 24


class Screen:
    """``update`` often; it draws when it is time; ``console`` is stdout's."""

    def __init__(self, console: Console, url: str, score: Score, traffic: Traffic) -> None:
        self._console, self._url, self._score, self._traffic = console, url, score, traffic
        self._began_s = self._line_s = monotonic()
        self._past: deque[tuple[float, int, int]] = deque([(self._began_s, 0, 0)])
        self._live = Live(console=console, auto_refresh=False, transient=False) if _draws(console) else None

    def __enter__(self) -> "Screen":
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._live is not None:
            self._live.update(self._table(), refresh=True)
            self._live.stop()

    def update(self) -> None:
        now_s, score = monotonic(), self._score
        self._past.append((now_s, score.decisions, score.asked["event"]))
        while now_s - self._past[0][0] > _WINDOW_S:
            self._past.popleft()
        if self._live is not None:
            if now_s - self._line_s >= REFRESH_S:
                self._line_s = now_s
                self._live.update(self._table(), refresh=True)
        elif now_s - self._line_s >= LINE_S:
            self._line_s = now_s
            self._console.print(self._line(), soft_wrap=True)

    def _rates(self) -> tuple[float, float]:
        (first_s, decisions, events), (last_s, later, more) = self._past[0], self._past[-1]
        seconds = max(last_s - first_s, 0.001)
        return (later - decisions) / seconds, (more - events) / seconds

    # -- a table -----------------------------------------------------------------------------------

    def _table(self) -> Table:
        title = f"adserver demo   {self._url}   {clock(monotonic() - self._began_s)}"
        table = Table(title=title, title_style="bold", box=box.ROUNDED, show_header=False, expand=False)
        table.add_column(style="dim", no_wrap=True)
        table.add_column(no_wrap=True, overflow="ellipsis")
        for name, told in self._rows():
            table.add_row(name, told)
        table.caption = "Ctrl-C ends it, with an audit of everything that was served"
        return table

    def _rows(self) -> list[tuple[str, str | Text]]:
        score, numbers = self._score, self._traffic.numbers
        rows: list[tuple[str, str | Text]] = [
            ("decisions", self._decisions()),
            ("exchange", self._exchange()),
            ("fill", _fill(numbers)),
        ]
        for placement, counts in sorted(numbers.get("feeds", {}).items()):
            rows.append((f"sponsored, {placement}", _share(counts, score.feeds.policy(placement))))
        rows += [
            ("frequency caps", _caps(numbers)),
            ("spend", spent(numbers)),
            ("events", self._events()),
            ("latency, client side", latency(score)),
        ]
        if score.failures:
            rows.append(("FAILURES", Text(failures(score), style="bold red")))
        return rows

    def _decisions(self) -> str:
        pace = self._traffic.pace
        slowed = "" if pace.rate > 0.95 * pace.most else f"   slowed down to {pace.rate:.0f}/s"
        return f"{self._rates()[0]:6.0f} /s   {self._score.decisions:,} in all{slowed}"

    def _exchange(self) -> str:
        if not self._traffic.exchange.open:
            return "does not take part (no OpenRTB here)"
        return exchange(self._score)

    def _events(self) -> str:
        verdicts = ", ".join(f"{count:,} {name}" for name, count in self._score.verdicts.most_common())
        return f"{self._rates()[1]:6.0f} /s   {verdicts}"

    # -- a line ------------------------------------------------------------------------------------

    def _line(self) -> str:
        score, numbers = self._score, self._traffic.numbers
        shares = [
            f"{placement} {_percent(counts)}, cap {_cap(score, placement)} %"
            for placement, counts in sorted(numbers.get("feeds", {}).items())
        ]
        parts = [
            clock(monotonic() - self._began_s),
            f"{self._rates()[0]:.0f} decisions/s",
            exchange(score),
            f"fill {_fill(numbers)}",
            *shares,
            f"capped {numbers.get('cap_stops', 0):,}",
            spent(numbers),
            f"{self._rates()[1]:.0f} events/s",
            latency(score),
            *([f"FAILURES {failures(score)}"] if score.failures else []),
        ]
        return " | ".join(parts)


def _draws(console: Console) -> bool:
    return console.is_terminal and not console.is_dumb_terminal


def clock(seconds: float) -> str:
    return f"{int(seconds) // 60:02d}:{int(seconds) % 60:02d}"


def exchange(score: Score) -> str:
    asked = score.asked["auction"]
    return f"{asked:,} auctions, {score.bids:,} bids, {score.lost:,} of them told lost"


def _fill(numbers: dict[str, Any]) -> str:
    placements = numbers.get("placements", 0)
    if not placements:
        return "-"
    reasons = sorted(numbers["no_fill"].items(), key=lambda item: -item[1])[:3]
    told = ", ".join(f"{name} {count:,}" for name, count in reasons)
    return f"{numbers['filled'] / placements:.0%} of {placements:,} placements ({told})"


def _percent(counts: dict[str, int]) -> str:
    items = counts["organic"] + counts["sponsored"]
    return f"{100 * counts['sponsored'] / items:.2f} %" if items else "-"


def _share(counts: dict[str, int], policy: FeedPolicy) -> Text:
    """The share as a bar that is full at the cap."""
    items = counts["organic"] + counts["sponsored"]
    share = policy.max_share
    full = min(counts["sponsored"] * share.den * _BAR // max(items * share.num, 1), _BAR)
    text = Text("█" * full, style="green")
    text.append("░" * (_BAR - full), style="dim")
    text.append(
        f" {_percent(counts)} of {items:,} items, cap {100 * share.num / share.den:g} %", style="default"
    )
    return text


def _caps(numbers: dict[str, Any]) -> str:
    left = numbers.get("no_fill", {}).get("frequency_capped", 0)
    return f"stopped {numbers.get('cap_stops', 0):,} candidates, left {left:,} placements short"


def spent(numbers: dict[str, Any]) -> str:
    """Whole cents: what is less is cut off, as on a statement."""
    amounts = numbers.get("spend", {}).items()
    return ", ".join(f"{amount[: amount.index('.') + 3]} {name}" for name, amount in amounts) or "-"


def latency(score: Score) -> str:
    p50, p99 = score.quantiles()
    return f"p50 {1000 * p50:.1f} ms, p99 {1000 * p99:.1f} ms"


def failures(score: Score) -> str:
    return ", ".join(f"{count} x {what}" for what, count in score.failures.most_common(4))


def _cap(score: Score, placement: str) -> str:
    """A feed's cap in per cent, as people write it."""
    share = score.feeds.policy(placement).max_share
    return f"{100 * share.num / share.den:g}"
