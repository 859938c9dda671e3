"""The requests of a real exchange's tests, against the sample world, over HTTP."""

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from live import REPOSITORY, Live
from openrtb_checks import DATA, read_reply

pytestmark = pytest.mark.slow

recorded = pytest.mark.skipif(
    not DATA.exists(), reason=f"NOT RUN: the recorded bid requests ({DATA}) are absent"
)


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("openrtb")
    with Live(folder / "data", REPOSITORY / "campaigns") as server:
        yield server
    shutil.rmtree(folder, ignore_errors=True)


def requests() -> list[dict[str, Any]]:
    return [json.loads(line)["request"] for line in Path(DATA).read_text().splitlines()]


@recorded
def test_every_recorded_request_gets_a_valid_bid_or_none(live: Live) -> None:
    seen: Counter[Any] = Counter()
    for request in requests():
        answer = live.post("/openrtb2/auction", request)
        found = read_reply(request, answer.status, answer.body)
        seen[answer.status] += 1
        if found is not None:
            assert found["cur"] == "USD"
            seen.update(("mtype", bid["mtype"]) for bid in found["seatbid"][0]["bid"])
    assert sum(count for status, count in seen.items() if status in (200, 204)) == 824
    assert seen[200] >= 50
    assert min(seen["mtype", 1], seen["mtype", 2], seen["mtype", 4]) > 0, "every medium is bid on"


def test_the_win_notice_answers_and_counts_nothing(live: Live) -> None:
    request = {"id": "w", "imp": [{"id": "1", "banner": {"w": 300, "h": 250}}]}
    answer = live.post("/openrtb2/auction", request)
    found = read_reply(request, answer.status, answer.body)
    assert found is not None
    [bid] = found["seatbid"][0]["bid"]
    for method in ("GET", "POST"):
        noted = live.call(method, bid["nurl"])
        assert (noted.status, noted.body) == (204, b"")
    advertiser, _, campaign = bid["cid"].partition("/")
    path = f"/v1/advertisers/{advertiser}/campaigns/{campaign}/delivery"
    lines = live.get(path, authorization=f"Bearer {live.key()}").json()["line_items"]
    assert sum(line["impressions"] for line in lines) == 0


def test_bodies_over_the_bound_are_413_and_compressed_ones_415(live: Live) -> None:
    from adserver.domain.limits import AUCTION_BYTES

    head, tail = b'{"id":"1","imp":[{"id":"1"}],"ext":"', b'"}'
    fill = b"x" * (AUCTION_BYTES - len(head) - len(tail))
    assert live.post("/openrtb2/auction", head + fill + tail).status == 204
    assert live.post("/openrtb2/auction", head + fill + b"x" + tail).status == 413
    assert live.post("/openrtb2/auction", b"\x1f\x8b", content_encoding="gzip").status == 415
    assert live.get("/openrtb2/auction").status == 405
    answer = live.post("/openrtb2/auction", b"{", content_type="application/x-protobuf")
    assert (answer.status, answer.body) == (400, b"")
