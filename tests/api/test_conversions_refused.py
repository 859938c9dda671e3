"""Where several workers serve, conversions are refused in words, not as a path that nobody has."""

import asyncio

import pytest

from adserver.api.conversions import operations
from adserver.api.messages import Head
from adserver.api.pages import Asked
from adserver.catalog.keys import Key
from adserver.services.refusals import Refused
from adserver.telemetry.metrics import Metrics


def test_several_workers_keep_none() -> None:
    [operation] = operations(None, Metrics())
    head = Head("POST", operation.path, b"", ((b"content-type", b"application/json"),), "")
    asked = Asked(
        head, {}, {}, b'{"conversions": [{"id": "1", "user": "u"}]}', Key("k", "advertiser", "acme")
    )
    with pytest.raises(Refused) as refused:
        asyncio.run(operation.act(asked))
    assert (refused.value.status, "several workers" in refused.value.title) == (503, True)
