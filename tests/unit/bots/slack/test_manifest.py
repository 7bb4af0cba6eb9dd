from pathlib import Path

import yaml

import bots.slack

MANIFEST = Path(bots.slack.__file__).with_name("manifest.yml")


def test_the_manifest_asks_for_what_the_adapter_uses_and_no_more() -> None:
    manifest = yaml.safe_load(MANIFEST.read_text())
    settings = manifest["settings"]
    assert settings["socket_mode_enabled"] is True
    assert set(settings["event_subscriptions"]["bot_events"]) == {
        "app_mention",
        "message.channels",
        "message.groups",
        "message.im",
        "message.mpim",
    }
    assert set(manifest["oauth_config"]["scopes"]["bot"]) == {
        "app_mentions:read",
        "channels:history",
        "groups:history",
        "im:history",
        "mpim:history",
        "chat:write",
        "users:read",
    }
    assert manifest["features"]["app_home"]["messages_tab_read_only_enabled"] is False
