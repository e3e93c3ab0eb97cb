"""Notices: sent where the variable is set, never in the way of a run."""

from __future__ import annotations

import sys
import types

from runtime.console import LOGGER
from runtime.notifications import notify


def test_notify(monkeypatch, caplog) -> None:
    sent = []

    class Apprise:
        def add(self, url: str) -> bool:
            return url.startswith("json://")

        def notify(self, **message: str) -> bool:
            sent.append(message)
            return True

    monkeypatch.setitem(sys.modules, "apprise", types.SimpleNamespace(Apprise=Apprise))
    monkeypatch.delenv("G2NET_NOTIFY", raising=False)
    notify("a", "b")
    assert sent == []
    monkeypatch.setenv("G2NET_NOTIFY", "json://localhost")
    notify("a", "b")
    assert sent == [{"body": "b", "title": "a"}]
    monkeypatch.setenv("G2NET_NOTIFY", "nonsense")
    monkeypatch.setattr(LOGGER, "propagate", True)
    notify("c", "d")
    assert "could not be delivered" in caplog.text
