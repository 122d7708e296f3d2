"""The ways to a Redis: TLS, a password, a unix socket, Sentinel and its failover."""

import asyncio
import socket
import subprocess

import pytest
from redis_server import redis_server

from bridge.errors import SettingsError, StoreUnavailable
from bridge.redis_client import RedisClient

pytestmark = pytest.mark.needs("redis-server")


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


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


async def answers(url, within_s=15.0):
    """Ask until there is an answer; return the client."""
    client = RedisClient(url)
    async with asyncio.timeout(within_s):
        while True:
            try:
                await client.ask(client.commands.ping)
            except StoreUnavailable:
                await asyncio.sleep(0.1)
            else:
                return client


@pytest.mark.needs("openssl")
async def test_a_server_behind_tls_with_a_password_that_needs_quoting(tmp_path, started):
    key, certificate, port = tmp_path / "key.pem", tmp_path / "certificate.pem", free_port()
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


@pytest.mark.timeout(150)
async def test_after_a_failover_sentinel_leads_to_the_new_master(tmp_path, started):
    (tmp_path / "one").mkdir()
    replica_port, sentinel_port = free_port(), free_port()
    with redis_server(tmp_path / "one") as master:
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
        async with asyncio.timeout(40):
            while (await client.commands.info("replication"))["master_link_status"] != "up":
                await asyncio.sleep(0.1)
        await client.close()
        started("redis-server", str(known), "--sentinel")
        client = await answers(f"redis+sentinel://127.0.0.1:{sentinel_port}/chat")
        await client.commands.set("kept", "1")
        await client.commands.wait(1, 2000)
        async with asyncio.timeout(40):
            while not await sentinel_knows_replica(sentinel_port):
                await asyncio.sleep(0.2)
        master.kill()
        async with asyncio.timeout(40):
            while True:
                try:
                    await client.ask(lambda: client.commands.set("after", "1"))
                except StoreUnavailable:
                    await asyncio.sleep(0.2)
                else:
                    break
        assert await client.commands.get("kept") == b"1"
        await client.close()


async def sentinel_knows_replica(port):
    client = RedisClient(f"redis://127.0.0.1:{port}/0")
    try:
        return await client.ask(lambda: client.commands.execute_command("SENTINEL", "REPLICAS", "chat"))
    finally:
        await client.close()


@pytest.mark.parametrize(
    "url", ["http://host", "redis+sentinel://", "redis+sentinel://host:26379", "redis://host:port"]
)
def test_a_url_that_leads_nowhere_is_refused(url):
    with pytest.raises(SettingsError, match="unable to use REDIS_URL"):
        RedisClient(url)
