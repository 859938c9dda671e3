"""Why a campaign or a placement does or does not deliver (API.md section 3)."""

from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec

from adserver.api import answers
from adserver.api.management import path_of, who
from adserver.api.messages import JSON, NO_STORE, Reply
from adserver.api.pages import Asked, Operation
from adserver.domain import limits
from adserver.services.diagnosis import Diagnosis
from adserver.services.refusals import Refused

_ENCODER: Final = msgspec.json.Encoder()
_HOURS: Final = 24
_QUERY: Final = {"hours": f"of the last so many hours, 1 to {limits.DIAGNOSIS_HOURS} (default {_HOURS})"}

Ask = Callable[[Any, tuple[str, ...], int], Awaitable[dict[str, Any]]]


def operations(diagnosis: Diagnosis) -> list[Operation]:
    return [
        _operation("advertiser", "campaign", diagnosis.campaign, answers.CampaignDiagnosis),
        _operation("publisher", "placement", diagnosis.placement, answers.PlacementDiagnosis),
    ]


def _operation(owner: str, kind: str, ask: Ask, answer: type) -> Operation:
    async def act(asked: Asked) -> Reply:
        told = await ask(who(asked), path_of(asked), _hours(asked.query.get("hours")))
        return Reply(200, (JSON, NO_STORE), _ENCODER.encode(told))

    path = f"/v1/{owner}s/{{owner}}/{kind}s/{{id}}/diagnosis"
    summary = f"Why a {kind} does or does not deliver, in counts by reason"
    said = {200: answer, 400: "not a number of hours", 404: "absent"}
    return Operation("GET", path, summary, f"{owner}s", act, said, None, True, _QUERY)


def _hours(text: str | None) -> int:
    if text is None:
        return _HOURS
    most = limits.DIAGNOSIS_HOURS
    if not (text.isascii() and text.isdigit() and len(text) < 4 and 1 <= int(text) <= most):
        raise Refused(400, "not a number of hours", [("hours", f"must be 1 to {most}")])
    return int(text)
