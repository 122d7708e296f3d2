"""The ways to a Redis: TLS, a password, a unix socket, Sentinel and its failover."""

import asyncio
import contextlib
import subprocess

import pytest
from redis_server import redis_server

from bridge.errors import SettingsError, StoreUnavailable
from bridge.redis_client import RedisClient
from tests.held_ports import held_port

pytestmark = pytest.mark.needs("redis-server")


@pytest.fixture
def started():
    """Starts programs, and ends them."""
    processes = []

    def start(*words):
        processes.append(subprocess.Popen(words, stdout=subprocess.DEVNULL))
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.wait()


async def answers(url, within_s=60):
    """Ask until there is an answer; return the client."""
    client = RedisClient(url)
    async with asyncio.timeout(within_s):
        while True:
            try:
                await client.call("PING")
            except StoreUnavailable:
                await asyncio.sleep(0.1)
            else:
                return client


@pytest.mark.needs("openssl")
async def test_a_server_behind_tls_with_a_password_that_needs_quoting(tmp_path, started, unused_tcp_port):
    key, certificate, port = tmp_path / "key.pem", tmp_path / "certificate.pem", unused_tcp_port
    await asyncio.to_thread(
        subprocess.run,
        [
            *(
                "openssl",
                "req",
                "-x509",
                "-newkey",
                "rsa:2048",
                "-nodes",
                "-days",
                "2",
                "-subj",
                "/CN=localhost",
            ),
            *("-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", key, "-out", certificate),
        ],
        check=True,
        capture_output=True,
    )
    started(
        *("redis-server", "--port", "0", "--tls-port", str(port), "--bind", "127.0.0.1", "--save", ""),
        *("--tls-cert-file", str(certificate), "--tls-key-file", str(key), "--tls-auth-clients", "no"),
        *("--requirepass", "p@ss/word", "--dir", str(tmp_path)),
    )
    client = await answers(f"rediss://:p%40ss%2Fword@127.0.0.1:{port}/0?ssl_ca_certs={certificate}")
    await client.check()
    await client.close()


async def test_a_server_behind_a_unix_socket(tmp_path, started):
    where = tmp_path / "redis.sock"
    started("redis-server", "--port", "0", "--unixsocket", str(where), "--save", "", "--dir", str(tmp_path))
    client = await answers(f"unix://{where}?db=0")
    await client.close()


async def done(client, *command):
    """Call until it is answered; return the answer."""
    async with asyncio.timeout(100):
        while True:
            with contextlib.suppress(StoreUnavailable):
                return await client.call(*command)
            await asyncio.sleep(0.1)


@pytest.mark.timeout(400)  # a Sentinel that was stopped for 2 s trusts its clock again after 30 s
async def test_after_a_failover_sentinel_leads_to_the_new_master(tmp_path, started):
    (tmp_path / "one").mkdir()
    with (
        redis_server(tmp_path / "one") as master,
        held_port() as replica_port,
        held_port() as sentinel_port,
    ):
        started(
            *("redis-server", "--port", str(replica_port), "--bind", "127.0.0.1", "--save", ""),
            *("--dir", str(tmp_path), "--replicaof", "127.0.0.1", str(master.port)),
        )
        known = tmp_path / "sentinel.conf"
        known.write_text(
            f"port {sentinel_port}\nbind 127.0.0.1\ndir {tmp_path}\n"
            f"sentinel monitor chat 127.0.0.1 {master.port} 1\n"
            "sentinel down-after-milliseconds chat 500\nsentinel failover-timeout chat 2000\n"
        )
        client = await answers(f"redis://127.0.0.1:{replica_port}/0")
        async with asyncio.timeout(100):
            while b"master_link_status:up" not in await done(client, "INFO", "replication"):
                pass
        await client.close()
        started("redis-server", str(known), "--sentinel")
        client = await answers(f"redis+sentinel://127.0.0.1:{sentinel_port}/chat")
        await done(client, "SET", "kept", "1")
        async with asyncio.timeout(100):
            while not await done(client, "WAIT", 1, 100):
                pass
            while not await sentinel_knows_replica(sentinel_port):
                await asyncio.sleep(0.2)
        master.kill()
        await done(client, "SET", "after", "1")
        assert await done(client, "GET", "kept") == b"1"
        await client.close()


async def sentinel_knows_replica(port):
    client = RedisClient(f"redis://127.0.0.1:{port}/0")
    try:
        return await done(client, "SENTINEL", "REPLICAS", "chat")
    finally:
        await client.close()


@pytest.mark.parametrize(
    "url", ["http://host", "redis+sentinel://", "redis+sentinel://host:26379", "redis://host:port"]
)
def test_a_url_that_leads_nowhere_is_refused(url):
    with pytest.raises(SettingsError, match="unable to use REDIS_URL"):
        RedisClient(url)
