"""What sharing the state of people moves."""

from test_metrics import samples

from adserver.telemetry.metrics import Metrics


def test_it_is_counted_when_it_is_not_known_any_more() -> None:
    metrics = Metrics()
    sharing = metrics.sharing
    for known in (False, True, True, False, False, True, False):
        sharing.state_is(known)
    sharing.missed("server")
    sharing.missed("request")
    sharing.missed("request")
    sharing.again("guessed")
    sharing.took(0.003)
    found = samples(metrics)
    assert found["adserver_state_losses_total", ()] == 2
    assert found["adserver_state_missed_deadlines_total", (("whose", "server"),)] == 1
    assert found["adserver_state_missed_deadlines_total", (("whose", "request"),)] == 2
    assert found["adserver_state_redecisions_total", (("because", "guessed"),)] == 1
    assert found["adserver_state_redecisions_total", (("because", "away"),)] == 0
    assert found["adserver_state_seconds_count", ()] == 1
