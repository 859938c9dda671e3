"""``adserver credit``: book a deposit, credit or make-good on a running server."""

from urllib.parse import quote

from adserver.commands.remote import Remote
from adserver.domain import money
from adserver.options import Wrong


def credit(
    remote: Remote, advertiser: str, credit_id: str, kind: str, amount: str, currency: str, reason: str
) -> None:
    """Booked once, however often it is asked under this id. Raises Wrong, Failed."""
    body = {"id": credit_id, "kind": kind, "amount": amount, "currency": currency, "reason": reason}
    told = remote.post(f"/v1/advertisers/{quote(advertiser, safe='')}/credits", body)
    print(
        f"{advertiser}: {told['kind'].replace('_', '-')} {told['id']} of {told['amount']} {told['currency']}"
    )
    balance(remote, advertiser)


def balance(remote: Remote, advertiser: str) -> None:
    """What is left of what was paid in, of who pays ahead. Raises Failed."""
    try:
        told = remote.get(f"/v1/advertisers/{quote(advertiser, safe='')}/wallet")
    except Wrong:
        return  # archived: it is billed and credited still, and buys nothing
    if told["billing"] == "prepaid":
        left, paid = (money.format_micros(told[f"{name}_micros"]) for name in ("remaining", "paid_in"))
        print(f"left in the wallet: {left} of {paid} {told['currency']}")
