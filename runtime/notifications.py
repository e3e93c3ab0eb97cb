"""Notices to phones and chats at the start and end of a run."""

from __future__ import annotations

import os

from runtime.console import LOGGER
from runtime.optional_packages import require


def notify(title: str, body: str) -> None:
    """Send a notice to the URLs in the environment variable G2NET_NOTIFY.

    The URLs have apprise's syntax and are separated by spaces. Does nothing if the variable is
    unset. A notice that cannot be delivered is logged and never stops a run.

    Raises:
        UserError: the variable is set and apprise is not installed.
    """
    urls = os.environ.get("G2NET_NOTIFY", "").split()
    if not urls:
        return
    sender = require("apprise", "notify").Apprise()
    added = [sender.add(url) for url in urls]  # every one, also after one that fails
    if not all(added) or not sender.notify(body=body, title=title):
        LOGGER.warning("the notice %r could not be delivered to every URL of G2NET_NOTIFY", title)
