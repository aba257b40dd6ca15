"""`nomos.webhooks`: a receiver of messages."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, assert_type

from nomos import InvalidWebhookSignature, webhooks
from nomos.errors import WebhookReason


def receive(headers: Mapping[str, str], body: bytes) -> int:
    try:
        event = webhooks.verify(headers, body, "secret", tolerance=60)
    except InvalidWebhookSignature as refused:
        assert_type(refused.reason, WebhookReason)
        return 400
    assert_type(event, webhooks.Event)
    assert_type(event.id, str)
    assert_type(event.created_at, datetime)
    assert_type(event.approval, Mapping[str, Any])
    webhooks.verify([("Nomos-Signature", "t=1,v1=00")], body, b"secret", now=1.0)
    return 204
