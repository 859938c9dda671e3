"""Management as it is on the wire: who may, etags, and nothing of anybody else's."""

import json
from typing import Any

import pytest
from small_server import Answer, Holder, Wire

from adserver.domain import limits
from adserver.domain.changes import Invalid, Problem
from adserver.services import manage
from adserver.services.refusals import Refused

CAMPAIGN = "/v1/advertisers/acme/campaigns/summer"
ADVERTISER = {"advertiser": "acme", "currency": "EUR", "timezone": "Europe/Paris"}
LINE_ITEM = {"id": "a", "priority": "house", "pricing": {"model": "cpm", "amount": "0.00"}}
SUMMER = {
    "advertiser": "acme", "campaign": "summer", "currency": "EUR", "timezone": "Europe/Paris",
    "line_items": [LINE_ITEM],
}  # fmt: skip
PLACES = {
    "/v1/advertisers/acme": ADVERTISER,
    CAMPAIGN: SUMMER,
    "/v1/advertisers/acme/audiences/fans": {"advertiser": "acme", "audience": "fans", "user_space": "lumen"},
    "/v1/publishers/lumen": {"publisher": "lumen", "currency": "EUR", "timezone": "Europe/Paris"},
    "/v1/publishers/lumen/placements/home": {"id": "home", "surface": "page", "formats": ["native"]},
    "/v1/publishers/lumen/audiences/readers": {"publisher": "lumen", "audience": "readers"},
}


def call(
    server: Wire, method: str, path: str, body: Any = None, key: str | None = "adk_op", **headers: str
) -> Answer:
    raw = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    if key is not None:
        named["authorization"] = f"Bearer {key}"
    return server.ask(method, path, raw, named)


def fill(server: Wire) -> None:
    for path, body in PLACES.items():
        assert call(server, "PUT", path, body).status == 201, path


def test_every_kind_is_created_read_replaced_and_archived(server: Wire) -> None:
    fill(server)
    assert server.world.changes == len(PLACES)
    for path, body in PLACES.items():
        answer = call(server, "GET", path)
        assert answer.status == 200 and body.items() <= answer.json.items(), path
        assert call(server, "GET", path, if_none_match=answer.headers["etag"]).status == 304
        assert call(server, "PUT", path, body).status == 200
    for path in reversed(PLACES):
        answer = call(server, "DELETE", path)
        assert (answer.status, answer.body) == (204, b"")
        assert call(server, "GET", path).status == 404
        assert call(server, "DELETE", path).status == 404
    assert server.world.changes == 3 * len(PLACES)


def test_preconditions(server: Wire) -> None:
    body = PLACES[CAMPAIGN]
    assert call(server, "PUT", CAMPAIGN, body, if_match="*").status == 412
    first = call(server, "PUT", CAMPAIGN, body, if_none_match="*")
    assert first.status == 201
    assert call(server, "PUT", CAMPAIGN, body, if_none_match="*").status == 412
    changed = {**body, "labels": ["travel"]}
    second = call(server, "PUT", CAMPAIGN, changed, if_match=first.headers["etag"])
    assert second.status == 200 and second.headers["etag"] != first.headers["etag"]
    stale = call(server, "PUT", CAMPAIGN, body, if_match=first.headers["etag"])
    assert (stale.status, stale.headers["content-type"]) == (412, "application/problem+json")
    assert call(server, "DELETE", CAMPAIGN, if_match=first.headers["etag"]).status == 412
    assert call(server, "GET", CAMPAIGN).json == changed
    assert call(server, "DELETE", CAMPAIGN, if_match="*").status == 204


def test_a_key_is_needed(server: Wire) -> None:
    for path in [*PLACES, CAMPAIGN + "/delivery", "/v1/publishers"]:
        for key in (None, "nope"):
            answer = call(server, "GET", path, key=key)
            assert answer.status == 401 and answer.headers["www-authenticate"] == "Bearer", path
    assert call(server, "PUT", CAMPAIGN, PLACES[CAMPAIGN], key=None).status == 401
    assert server.world.changes == 0


def test_somebody_elses_object_is_as_a_missing_one(server: Wire) -> None:
    fill(server)
    rival = {**SUMMER, "advertiser": "rival", "campaign": "secret"}
    assert call(server, "PUT", "/v1/advertisers/rival", {**ADVERTISER, "advertiser": "rival"}).status == 201
    assert call(server, "PUT", "/v1/advertisers/rival/campaigns/secret", rival).status == 201
    before = server.world.store.revision()
    missing = call(server, "GET", "/v1/advertisers/acme/campaigns/none", key="adk_acme")
    assert missing.status == 404
    theirs = ["/v1/advertisers/rival", "/v1/advertisers/rival/campaigns/secret", "/v1/publishers/lumen"]
    theirs += ["/v1/advertisers/rival/campaigns", "/v1/publishers/lumen/placements/home"]
    theirs += ["/v1/advertisers/rival/campaigns/secret/delivery", "/v1/publishers/lumen/audiences"]
    for path in theirs:
        methods = ("GET",) if path.endswith(("s", "delivery")) else ("GET", "PUT", "DELETE")
        for method in methods:
            answer = call(server, method, path, rival if method == "PUT" else None, "adk_acme")
            assert (answer.status, answer.body) == (404, missing.body), (method, path)
    for path in (CAMPAIGN, "/v1/advertisers/acme/audiences/fans"):
        assert call(server, "GET", path, key="adk_lumen").status == 404
    for path in (CAMPAIGN, "/v1/advertisers/acme", "/v1/advertisers/acme/campaigns"):
        assert call(server, "GET", path, key="adk_other_acme").body == missing.body
    assert server.world.store.revision() == before


def test_nobody_guesses_the_names_of_other_peoples_audiences(server: Wire) -> None:
    fill(server)
    for owner, audience in (("rival", "secret-buyers"), ("acme", "winter-buyers")):
        call(server, "PUT", f"/v1/advertisers/{owner}", {**ADVERTISER, "advertiser": owner})
        path = f"/v1/advertisers/{owner}/audiences/{audience}"
        assert call(server, "PUT", path, {"user_space": "lumen"}).status == 201

    def refused(audience: str, key: str) -> bytes:
        body = {**SUMMER, "line_items": [{**LINE_ITEM, "targeting": {"audiences": [audience]}}]}
        answer = call(server, "PUT", CAMPAIGN, body, key)
        assert answer.status == 400
        return answer.body

    there, absent = (refused(name, "adk_acme") for name in ("rival/secret-buyers", "rival/secret-buyerz"))
    assert there.replace(b"buyers", b"buyerz") == absent
    assert b"winter-buyers" in refused("winter-buyer", "adk_acme")


def test_owners_change_what_is_theirs_and_operators_create_owners(server: Wire) -> None:
    assert call(server, "PUT", "/v1/advertisers/acme", ADVERTISER, "adk_acme").status == 403
    fill(server)
    for path, body in PLACES.items():
        key = "adk_acme" if "advertisers" in path else "adk_lumen"
        assert call(server, "GET", path, key=key).status == 200
        assert call(server, "PUT", path, body, key).status == 200
    assert call(server, "DELETE", "/v1/advertisers/acme", key="adk_acme").status == 403
    assert call(server, "DELETE", CAMPAIGN, key="adk_acme").status == 204


def test_what_was_agreed_is_changed_by_operators(server: Wire) -> None:
    fill(server)
    path = "/v1/publishers/lumen"
    greedy = {**PLACES[path], "revenue_share": "1"}
    assert call(server, "PUT", path, greedy, "adk_lumen").status == 403
    agreed = {**PLACES[path], "revenue_share": "0.70"}
    assert call(server, "PUT", path, agreed).status == 200
    for body in (greedy, PLACES[path]):
        answer = call(server, "PUT", path, body, "adk_lumen")
        assert (answer.status, "revenue_share" in answer.json["detail"]) == (403, True)
    assert call(server, "PUT", path, {**agreed, "kind": "app"}, "adk_lumen").status == 200


def test_an_audience_belongs_to_whom_the_path_says(server: Wire) -> None:
    path = "/v1/advertisers/acme/audiences/fans"
    for body in ({"advertiser": "rival"}, {"publisher": "acme"}, {"advertiser": "acme", "publisher": "acme"}):
        assert call(server, "PUT", path, body, "adk_acme").status == 400
    call(server, "PUT", "/v1/publishers/acme", {**PLACES["/v1/publishers/lumen"], "publisher": "acme"})
    assert call(server, "PUT", "/v1/publishers/acme/audiences/fans", {}).status == 201
    for method, body in (("GET", None), ("PUT", {"user_space": "x"}), ("DELETE", None)):
        assert call(server, method, path, body, "adk_acme").status == (409 if method == "PUT" else 404)
    assert call(server, "GET", "/v1/advertisers/acme/audiences", key="adk_acme").json["items"] == []


def test_every_problem_of_a_document_is_named(server: Wire) -> None:
    fill(server)
    wrong = {"campaign": "summer", "colour": "red", "line_items": [{**LINE_ITEM, "priority": "first"}]}
    answer = call(server, "PUT", CAMPAIGN, wrong)
    assert answer.status == 400
    paths = {error["path"] for error in answer.json["errors"]}
    assert {"currency", "colour", "line_items[0].priority"} <= paths
    assert call(server, "GET", CAMPAIGN).json["currency"] == "EUR"


def test_what_is_in_use_stays_and_says_by_whom_to_operators_alone(server: Wire) -> None:
    fill(server)
    targeted = [{**LINE_ITEM, "targeting": {"audiences": ["lumen/readers"]}}]
    assert call(server, "PUT", CAMPAIGN, {**SUMMER, "line_items": targeted}, "adk_acme").status == 200
    readers = "/v1/publishers/lumen/audiences/readers"
    theirs, all_of_it = (call(server, "DELETE", readers, key=key) for key in ("adk_lumen", "adk_op"))
    assert (theirs.status, all_of_it.status) == (409, 409)
    assert b"acme" not in theirs.body and b"acme/summer" in all_of_it.body


@pytest.mark.parametrize(
    ("role", "told"),
    [("operator", "campaign rival/x: currency"), ("acme", ""), ("rival", "campaign rival/x: currency")],
)
def test_problems_in_other_documents_are_told_to_their_owners(role: str, told: str) -> None:
    def change(kind: str, full_id: str) -> None:
        raise Invalid(
            [Problem("id", "own", f"{kind} {full_id}"), Problem("currency", "m", "campaign rival/x")]
        )

    holder = Holder("operator") if role == "operator" else Holder("advertiser", role)
    with pytest.raises(Refused) as refused:
        manage._told(holder, change, "advertiser", "acme")
    assert refused.value.errors[0] == ("id", "own")
    assert refused.value.errors[1][0] == told


def test_what_was_billed_keeps_its_currency(server: Wire) -> None:
    fill(server)
    server.world.store.mark_billed({server.world.store.load().campaigns[0].serial})
    assert call(server, "PUT", CAMPAIGN, {**SUMMER, "currency": "USD"}).status == 409
    assert call(server, "PUT", CAMPAIGN, {**SUMMER, "labels": ["travel"]}).status == 200


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b"[" * 100_000, b"\xff"])
def test_what_is_not_a_document_is_400(server: Wire, raw: bytes) -> None:
    answer = call(server, "PUT", CAMPAIGN, raw)
    assert answer.status == 400 and answer.json["errors"]


def test_ids_media_types_and_sizes(server: Wire) -> None:
    for bad in ("Summer", "a%20b", "%2e%2e", "-a", "a" * 65, "a%00", "%C3%A9"):
        assert call(server, "PUT", f"/v1/advertisers/{bad}", {"currency": "EUR"}).status == 400, bad
        assert call(server, "GET", f"/v1/advertisers/{bad}").status == 404, bad
    assert call(server, "PUT", CAMPAIGN, b"a: 1", content_type="application/yaml").status == 415
    head = f"PUT {CAMPAIGN} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer adk_op\r\ncontent-length: "
    received = server.raw(f"{head}{limits.MANAGEMENT_BYTES + 1}\r\n\r\n".encode(), silence=0.3)
    assert received.startswith(b"HTTP/1.1 413")


def test_a_stranger_s_body_is_not_read(server: Wire) -> None:
    head = f"PUT {CAMPAIGN} HTTP/1.1\r\nhost: x\r\ncontent-length: {limits.MANAGEMENT_BYTES}\r\n\r\n"
    assert server.raw(head.encode(), silence=0.3).startswith(b"HTTP/1.1 401")


def test_collections_are_paged(server: Wire) -> None:
    fill(server)
    for name in "abcde":
        call(server, "PUT", f"/v1/advertisers/acme/campaigns/{name}", {**SUMMER, "campaign": name})
    seen, after = [], ""
    while True:
        query = f"?limit=2&after={after}" if after else "?limit=2"
        answer = call(server, "GET", f"/v1/advertisers/acme/campaigns{query}", key="adk_acme")
        seen += [item["campaign"] for item in answer.json["items"]]
        after = answer.json["next"]
        if after is None:
            break
    assert seen == ["a", "b", "c", "d", "e", "summer"]
    assert [item["advertiser"] for item in call(server, "GET", "/v1/advertisers").json["items"]] == ["acme"]
    mine = call(server, "GET", "/v1/advertisers", key="adk_acme")
    assert [item["advertiser"] for item in mine.json["items"]] == ["acme"]
    assert call(server, "GET", "/v1/publishers", key="adk_acme").json["items"] == []
    for limit in ("0", "1001", "-1", "x", "1e3", "٣"):
        path = f"/v1/advertisers/acme/campaigns?limit={limit}"
        assert server.ask("GET", _quoted(path), None, {"authorization": "Bearer adk_op"}).status == 400


def test_a_parameter_that_is_not_known_is_refused_and_never_passed_over(server: Wire) -> None:
    """A misspelt one would be the first page again, for ever."""
    fill(server)
    for query, path, message in (
        ("cursor=summer", "cursor", "known are after, limit"),
        ("limit=2&limit=3", "limit", "given twice"),
        ("limit=2&Limit=3", "Limit", "known are after, limit"),
    ):
        answer = call(server, "GET", f"/v1/advertisers?{query}")
        assert (answer.status, answer.json["errors"]) == (400, [{"path": path, "message": message}])
    told = call(server, "PUT", f"{CAMPAIGN}?dry_run=true", SUMMER)
    assert (told.status, told.json["errors"]) == (400, [{"path": "dry_run", "message": "known are none"}])
    assert call(server, "GET", f"{CAMPAIGN}?fields=labels", key=None).status == 401
    assert call(server, "GET", "/healthz?probe=7", key=None).status == 200


def test_delivery(server: Wire) -> None:
    answer = call(server, "GET", CAMPAIGN + "/delivery", key="adk_acme")
    assert (answer.status, answer.json["campaign"]) == (200, "acme/summer")
    assert call(server, "GET", "/v1/advertisers/acme/campaigns/none/delivery", key="adk_acme").status == 404


def test_what_is_reserved_says_that_it_is_not_built_yet(server: Wire) -> None:
    fill(server)
    assert "not built yet" in call(server, "PATCH", CAMPAIGN, {}).json["detail"]
    assert call(server, "PATCH", CAMPAIGN, {}).status == 405
    for method, path in (
        ("POST", CAMPAIGN + ":pause"),
        ("GET", CAMPAIGN + ":pause"),
        ("POST", "/v1/advertisers/acme/campaigns:bulk"),
        ("POST", CAMPAIGN + "/line-items/a:pause"),
        ("POST", "/v1/advertisers/acme/audiences/fans/members"),
        ("POST", "/v1/keys"),
        ("POST", "/v1/forecast"),
        ("POST", "/openrtb2/auction"),
    ):
        answer = call(server, method, path, {} if method == "POST" else None)
        assert answer.status in (404, 405) and "not built yet" in answer.json["detail"], path
        assert answer.headers["x-request-id"]


def _quoted(path: str) -> str:
    from urllib.parse import quote

    return quote(path, safe="/?=&")
