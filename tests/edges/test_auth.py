"""Whose a token is: by a secret, and by keys that an issuer publishes and changes."""

import asyncio
import base64
import json

import jwt
import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from bridge.auth import ClosedAuthenticator, JwtAuthenticator, NoAuthenticator, Secret, bearer
from bridge.errors import RequestError
from bridge.jwks import PublishedKeys

SECRET = "s" * 32
NOW_S = 1_000_000.0
CLAIMS = {"sub": "ann", "exp": NOW_S + 60, "iss": "https://issuer", "aud": "chat", "rooms": ["a", 42]}
RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC = ec.generate_private_key(ec.SECP256R1())
ED = ed25519.Ed25519PrivateKey.generate()
WAYS = {"RS256": RSA, "PS256": RSA, "ES256": EC, "EdDSA": ED}


def authenticator(keys=None, **chosen):
    known = {"issuer": "https://issuer", "audience": "chat", "rooms_claim": "rooms", **chosen}
    return JwtAuthenticator(keys or Secret(SECRET), wall=lambda: NOW_S, **known)


def token(key=SECRET, algorithm="HS256", headers=None, **claims):
    said = {name: value for name, value in {**CLAIMS, **claims}.items() if value is not None}
    return jwt.encode(said, key, algorithm, headers)


def refused(code):
    return pytest.raises(RequestError, check=lambda error: error.code == code)


async def test_a_token_says_user_rooms_and_end():
    identity = await authenticator().identify(token())
    assert (identity.user, identity.rooms, identity.expires_at_s) == ("ann", {"a", 42}, NOW_S + 60)


async def test_rooms_that_are_none_are_left_out():
    identity = await authenticator().identify(token(rooms=["a b", True, None, 1.5, {}, 7, "ok"]))
    assert identity.rooms == {7, "ok"}
    assert (await authenticator().identify(token(rooms="a"))).rooms == frozenset()
    assert (await authenticator(rooms_claim="chats").identify(token(chats=["z"]))).rooms == {"z"}


@pytest.mark.parametrize(
    ("claims", "code"),
    [
        ({"exp": NOW_S}, "token_expired"),
        ({"exp": NOW_S - 1}, "token_expired"),
        ({"exp": None}, "unauthorized"),
        ({"exp": "soon"}, "unauthorized"),
        ({"exp": 10**400}, "unauthorized"),
        ({"exp": float("inf")}, "unauthorized"),
        ({"nbf": NOW_S + 60}, "unauthorized"),
        ({"sub": None}, "unauthorized"),
        ({"sub": ""}, "unauthorized"),
        ({"sub": "a\nb"}, "unauthorized"),
        ({"sub": "x" * 300}, "unauthorized"),
        ({"iss": "https://other"}, "unauthorized"),
        ({"iss": None}, "unauthorized"),
        ({"aud": "other"}, "unauthorized"),
        ({"aud": None}, "unauthorized"),
        ({"pad": "x" * 9000}, "unauthorized"),
    ],
    ids=str,
)
async def test_what_a_token_must_hold(claims, code):
    with refused(code):
        await authenticator().identify(token(**claims))


async def test_an_issuers_clock_may_be_a_little_ahead():
    assert (await authenticator().identify(token(nbf=NOW_S + 3, iat=NOW_S + 3))).user == "ann"


@pytest.mark.filterwarnings("ignore::jwt.warnings.InsecureKeyLengthWarning")
async def test_a_forged_signature_is_refused():
    good = token()
    head, claims, signature = good.split(".")
    other = base64.urlsafe_b64encode(json.dumps({**CLAIMS, "sub": "root"}).encode()).decode().rstrip("=")
    unsigned = jwt.encode(CLAIMS, None, "none")
    for forged in (
        f"{head}.{other}.{signature}",
        f"{head}.{claims}.",
        f"{unsigned.split('.')[0]}.{claims}.{signature}",
        unsigned,
        token("t" * 32),
        token(algorithm="HS512"),
        good[:-2],
        good + "x.y",
    ):
        with refused("unauthorized"):
            await authenticator().identify(forged)


@given(st.one_of(st.none(), st.text(), st.from_regex(r"[A-Za-z0-9_-]*\.[A-Za-z0-9_-]*\.[A-Za-z0-9_-]*")))
async def test_whatever_is_no_token_is_refused(text):
    with refused("unauthorized"):
        await authenticator().identify(text)


async def test_deep_heads_and_claims_are_refused():
    deep = base64.urlsafe_b64encode(b'{"a":' * 1500).decode().rstrip("=")
    with refused("unauthorized"):
        await authenticator().identify(f"{deep}.{deep}.x")


async def test_who_needs_no_token_and_who_lets_nobody_in():
    assert (await NoAuthenticator().identify("whatever")).user == ""
    with refused("unauthorized"):
        await ClosedAuthenticator().identify(token())


@pytest.mark.parametrize(
    ("header", "found"),
    [
        ("Bearer a.b.c", "a.b.c"),
        ("bearer  a", "a"),
        ("Basic a", None),
        ("Bearer ", None),
        ("", None),
        (None, None),
    ],
)
def test_the_token_of_a_header(header, found):
    assert bearer(header) == found


def test_nobody_reads_a_secret_in_a_repr():
    assert SECRET not in repr(authenticator()) + repr(Secret(SECRET))


# -- keys that an issuer publishes


def published(key, name, **more):
    algorithm = next(way for way, known in WAYS.items() if known is key)
    made = jwt.get_algorithm_by_name("EdDSA" if key is ED else algorithm)
    return {**made.to_jwk(key.public_key(), as_dict=True), "kid": name, "use": "sig", **more}


class Issuer:
    """Publishes ``keys``, or what a test puts in their place; counts who looks."""

    def __init__(self):
        self.keys = []
        self.looks = 0
        self.answer = None
        self.now_s = 0.0
        self.failures = []

    async def serve(self, _):
        self.looks += 1
        return self.answer or web.json_response({"keys": self.keys})


@pytest.fixture
async def issuer():
    issuer = Issuer()
    app = web.Application()
    app.router.add_get("/jwks", issuer.serve)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/jwks"
    issuer.published = PublishedKeys(url, lambda: issuer.now_s, issuer.failures.append)
    issuer.authenticator = authenticator(issuer.published)
    yield issuer
    await issuer.published.close()
    await runner.cleanup()


@pytest.mark.parametrize("algorithm", WAYS)
async def test_each_kind_of_published_key_proves_its_tokens(issuer, algorithm):
    issuer.keys = [published(WAYS[algorithm], "k", alg=algorithm)]
    said = token(WAYS[algorithm], algorithm, {"kid": "k"})
    assert (await issuer.authenticator.identify(said)).user == "ann"
    assert (await issuer.authenticator.identify(token(WAYS[algorithm], algorithm))).user == "ann"
    assert issuer.looks == 1


async def test_a_new_key_is_looked_for_but_junk_makes_nobody_busy(issuer):
    issuer.keys = [published(RSA, "old")]
    await issuer.authenticator.identify(token(RSA, "RS256", {"kid": "old"}))
    issuer.keys = [published(EC, "new")]
    issuer.now_s = 11
    assert (await issuer.authenticator.identify(token(EC, "ES256", {"kid": "new"}))).user == "ann"
    for number in range(100):
        with refused("unauthorized"):
            await issuer.authenticator.identify(token(EC, "ES256", {"kid": f"junk-{number}"}))
    assert issuer.looks == 2
    with refused("unauthorized"):  # taken back
        await issuer.authenticator.identify(token(RSA, "RS256", {"kid": "old"}))


async def test_a_key_that_is_taken_back_is_not_trusted_for_long(issuer):
    issuer.keys = [published(RSA, "old")]
    await issuer.authenticator.identify(token(RSA, "RS256", {"kid": "old"}))
    issuer.keys, issuer.now_s = [], 601
    with refused("unauthorized"):
        await issuer.authenticator.identify(token(RSA, "RS256", {"kid": "old"}))


async def test_an_issuer_that_is_down_locks_out_only_whose_key_is_unknown(issuer):
    issuer.keys = [published(RSA, "old")]
    await issuer.authenticator.identify(token(RSA, "RS256", {"kid": "old"}))
    issuer.answer, issuer.now_s = web.Response(status=503), 700
    assert (await issuer.authenticator.identify(token(RSA, "RS256", {"kid": "old"}))).user == "ann"
    assert len(issuer.failures) == 1
    issuer.now_s = 700 + 86400
    with refused("auth_unavailable"):
        await issuer.authenticator.identify(token(RSA, "RS256", {"kid": "old"}))


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"{}", b'{"keys": 1}', b"[" * 100_000, b"x" * 300_000, b'{"keys": [1, {}, {"kty": "x"}]}'],
)
async def test_what_is_no_key_set_proves_nothing(issuer, body):
    issuer.answer = web.Response(body=body)
    with pytest.raises(RequestError) as refusal:
        await issuer.authenticator.identify(token(RSA, "RS256", {"kid": "k"}))
    assert refusal.value.code in ("auth_unavailable", "unauthorized")


@pytest.mark.filterwarnings("ignore::jwt.warnings.InsecureKeyLengthWarning")
async def test_a_published_key_is_no_secret(issuer):
    """The public key as an HMAC secret, and a secret among the published keys."""
    issuer.keys = [
        published(RSA, "k"),
        {"kty": "oct", "kid": "s", "k": base64.urlsafe_b64encode(b"s" * 32).decode()},
    ]
    pem = RSA.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    signing = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256)
    head = base64.urlsafe_b64encode(b'{"alg":"HS256","kid":"k"}').rstrip(b"=")
    claims = base64.urlsafe_b64encode(json.dumps(CLAIMS).encode()).rstrip(b"=")
    signature = base64.urlsafe_b64encode(signing.sign(head + b"." + claims, pem)).rstrip(b"=")
    for forged in (
        (head + b"." + claims + b"." + signature).decode(),
        token("s" * 32, "HS256", {"kid": "s"}),
    ):
        with refused("unauthorized"):
            await issuer.authenticator.identify(forged)


async def test_an_issuer_that_redirects_is_not_followed(issuer):
    issuer.answer = web.Response(status=302, headers={"Location": "http://127.0.0.1:1/"})
    with refused("auth_unavailable"):
        await issuer.authenticator.identify(token(RSA, "RS256", {"kid": "k"}))


async def test_many_that_wait_for_keys_look_once(issuer):
    issuer.keys = [published(RSA, "k")]
    said = token(RSA, "RS256", {"kid": "k"})
    found = await asyncio.gather(*(issuer.authenticator.identify(said) for _ in range(50)))
    assert {each.user for each in found} == {"ann"}
    assert issuer.looks == 1
