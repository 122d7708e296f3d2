"""What the bridge refuses to start with, and what it says to whoever reads it at night."""

import pytest

from bridge.border import check, in_production
from bridge.errors import SettingsError
from bridge.settings import Settings

PUBLIC = {"host": "0.0.0.0"}  # noqa: S104
JWT = {"auth": "jwt", "jwt_secret": "s" * 32}
PAGES = {"origins": ("https://chat.example",)}


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"host": "::1"},
        {"host": "localhost", "origins": ("*",)},
        {"auth": "none"},
        {**PUBLIC, "demo": True},
        {**PUBLIC, "mode": "development"},
        {**PUBLIC, **JWT, **PAGES},
        {**PUBLIC, "auth": "closed"},
        {**PUBLIC, "auth": "closed", "drop_in": "on"},
        {**PUBLIC, **JWT, **PAGES, "drop_in": "on", "drop_in_port": 5002},
        {"mode": "production", **JWT, **PAGES},
        {**PUBLIC, **PAGES, "auth": "jwt", "jwks_url": "https://issuer.example/jwks"},
    ],
    ids=str,
)
def test_what_may_start(given):
    check(Settings(**given))


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (PUBLIC, "BRIDGE_AUTH=jwt"),
        ({**PUBLIC, "auth": "none"}, "BRIDGE_AUTH=none"),
        ({"mode": "production"}, "BRIDGE_MODE is production"),
        ({**PUBLIC, **PAGES}, "BRIDGE_MODE=development"),
        ({**PUBLIC, **JWT}, "BRIDGE_ORIGINS=https://chat.example.org"),
        ({**PUBLIC, **JWT, "origins": ("*",)}, "BRIDGE_ORIGINS"),
        ({**PUBLIC, **JWT, "origins": ("https://a.example", "*")}, "BRIDGE_ORIGINS"),
        ({**PUBLIC, **JWT, **PAGES, "drop_in": "on"}, "BRIDGE_DROP_IN_PORT"),
        ({"origins": ("chat.example",)}, "BRIDGE_ORIGINS=chat.example"),
        ({"origins": ("https://chat.example/",)}, "without a path"),
        ({"trusted_proxies": ("proxy",)}, "BRIDGE_TRUSTED_PROXIES"),
        ({"trusted_proxies": ("10.0.0.1/8",)}, "BRIDGE_TRUSTED_PROXIES"),
    ],
    ids=str,
)
def test_what_may_not_start_is_told_what_to_set(given, says):
    with pytest.raises(SettingsError, match="unable to use") as refused:
        check(Settings(**given))
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"auth": "jwt"}, "it needs one of"),
        ({**JWT, "jwks_url": "https://issuer.example"}, "it needs one of"),
        ({"auth": "oauth"}, "it must be jwt"),
        ({"mode": "prod"}, "development or production"),
        ({"auth": "jwt", "jwt_secret": "short-canary"}, "32 bytes or more"),
        ({"auth": "jwt", "jwks_url": "issuer/canary"}, "unable to use BRIDGE_JWKS_URL; .*https://host/path"),
        ({"backend_url": "http://user:canary@"}, "unable to use BACKEND_URL; .*http://host:port"),
        ({"backend_url": "htp://user:canary@host"}, "unable to use BACKEND_URL; .*http://host:port"),
        ({"backend_url": "http://user:canary@host:99999"}, "unable to use BACKEND_URL; .*http://host:port"),
        ({"admin_url": "user:canary@host"}, "unable to use BRIDGE_ADMIN_URL; .*http://host:port"),
        ({"guard_webhook": "hook/canary"}, "unable to use BRIDGE_GUARD_WEBHOOK; .*https://host/path"),
    ],
    ids=str,
)
def test_settings_that_cannot_be(given, says):
    with pytest.raises(SettingsError, match=says) as refused:
        Settings(**given)
    assert "canary" not in str(refused.value)


def test_a_demo_is_no_production_unless_it_is_said():
    assert not in_production(Settings(**PUBLIC, demo=True))
    assert in_production(Settings(demo=True, mode="production"))


def test_secrets_are_in_no_repr():
    settings = Settings(
        jwt_secret="canary" * 8, admin_token="canary", redis_url="redis://:canary@h", auth="none"
    )
    assert "canary" not in repr(settings)
