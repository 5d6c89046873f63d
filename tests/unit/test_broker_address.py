"""One broker address for two clients: what each of them is told, and what is refused."""

from __future__ import annotations

import pytest
from kombu import Connection
from redis.sentinel import SentinelConnectionPool

from maskmill.broker.address import OPTIONS, BrokerAddress
from maskmill.broker.connection import connect
from maskmill.errors import InvalidSettings
from maskmill.queue import new_app
from maskmill.settings import Settings, load_settings

SECRET = "a/b?c#d@e:f%"  # as a password may be
WRITTEN = "a%2Fb%3Fc%23d%40e%3Af%25"


def told_celery(url: str) -> Connection:
    return new_app(Settings(broker_url=url)).connection_for_write()


@pytest.mark.parametrize("scheme", ["redis", "rediss"])
def test_both_clients_get_the_same_server_user_password_and_database(scheme: str) -> None:
    url = f"{scheme}://me:{WRITTEN}@broker.lan:7000/3?socket_timeout=2"
    ours = connect(url).connection_pool.connection_kwargs
    theirs = told_celery(url)
    assert (ours["host"], ours["port"], ours["db"]) == ("broker.lan", 7000, 3)
    assert (ours["username"], ours["password"], ours["socket_timeout"]) == ("me", SECRET, 2)
    assert (theirs.hostname, theirs.port, theirs.virtual_host) == ("broker.lan", 7000, "3")
    assert (theirs.userid, theirs.password, theirs.transport_options["socket_timeout"]) == ("me", SECRET, 2)


def test_both_clients_check_certificates_unless_told_otherwise() -> None:
    for option, expected in (("", "required"), ("?ssl_cert_reqs=CERT_NONE", "none"), ("?ssl_cert_reqs=none", "none")):
        url = f"rediss://broker.lan/0{option}"
        assert connect(url).connection_pool.connection_kwargs["ssl_cert_reqs"] == expected
        assert told_celery(url).ssl["ssl_cert_reqs"] == expected


def test_both_clients_get_the_files_of_mutual_tls() -> None:
    url = "rediss://broker.lan/0?ssl_ca_certs=/ca.pem&ssl_certfile=/me.pem&ssl_keyfile=/me.key"
    files = {"ssl_ca_certs": "/ca.pem", "ssl_certfile": "/me.pem", "ssl_keyfile": "/me.key"}
    assert files.items() <= connect(url).connection_pool.connection_kwargs.items()
    assert files.items() <= told_celery(url).ssl.items()


def test_both_clients_get_the_sentinels_and_the_name_of_the_primary() -> None:
    url = "sentinel://:pw@a:1/2;sentinel://:pw@[::1]:2?master_name=mine&sentinel_password=other"
    pool = connect(url).connection_pool
    assert isinstance(pool, SentinelConnectionPool)
    assert pool.service_name == "mine"
    manager = pool.sentinel_manager
    where = [each.connection_pool.connection_kwargs for each in manager.sentinels]
    assert [(each["host"], each["port"], each["password"]) for each in where] == [
        ("a", 1, "other"),
        ("::1", 2, "other"),
    ]
    assert (pool.connection_kwargs["password"], pool.connection_kwargs["db"]) == ("pw", 2)
    theirs = told_celery(url)
    assert theirs.alt == ["sentinel://:pw@a:1/2", "sentinel://:pw@[::1]:2/2"]
    assert theirs.transport_options["master_name"] == "mine"
    assert theirs.transport_options["sentinel_kwargs"]["password"] == "other"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("", "write redis://"),
        ("amqp://host", "write redis://"),
        ("redis+cluster://host:7000", "Redis Cluster"),
        ("rediscluster://host:7000", "Redis Cluster"),
        ("redis://host/queue", "number of a database"),
        ("redis://host:six/0", "the port is no number"),
        ("redis://:a/b@host/0", "the port is no number"),
        ("redis://me@host/0", "no password"),
        ("redis://host/0?ssl_ca_certs=/ca.pem", "'ssl_ca_certs' is not known for redis://"),
        ("rediss://host/0?ssl_min_version=3", "'ssl_min_version' is not known"),
        ("rediss://host/0?ssl_cert_reqs=maybe", "'ssl_cert_reqs' .* cannot be read"),
        ("redis://host/0?max_connections=5", "'max_connections' is not known"),
        ("redis://host/0?visibility_timeout=5", "'visibility_timeout' is not known"),
        ("redis://host/0?db=one", "'db' .* cannot be read"),
        ("sentinel://host:26379/0", "master_name"),
        ("unix://", "needs its path"),
        ("redis://a/0;redis://b/0", "one broker has one address"),
    ],
)
def test_what_one_client_alone_would_understand_is_refused_with_what_to_write(
    url: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MASKMILL_BROKER_URL", url)
    with pytest.raises(InvalidSettings, match=said) as caught:
        load_settings()
    assert "MASKMILL_BROKER_URL" in str(caught.value)
    assert "a/b" not in str(caught.value)


def test_every_option_reaches_both_clients() -> None:
    """No option is known to one client alone: its value is in what each of them is given."""
    values = {"ssl_cert_reqs": "optional", "ssl_check_hostname": "false"}
    names = {"sentinel_username": "username", "sentinel_password": "password"}
    for scheme, options in OPTIONS.items():
        for option in options:
            value = values.get(option, "7")
            base = "unix:///s" if scheme == "unix" else f"{scheme}://h"
            needed = "&master_name=m" if scheme == "sentinel" and option != "master_name" else ""
            url = f"{base}?{option}={value}{needed}"
            address = BrokerAddress.parse(url)
            pool = connect(url).connection_pool
            ours = {**vars(pool), **pool.connection_kwargs}
            if scheme == "sentinel":
                ours |= pool.sentinel_manager.sentinel_kwargs | {"master_name": pool.service_name}
            theirs = {
                **address.celery_transport(),
                **address.tls,
                **address.celery_transport().get("sentinel_kwargs", {}),
            }
            theirs["db"] = int(address.celery_url().rpartition("=" if scheme == "unix" else "/")[2])
            key = names.get(option, "db" if option == "virtual_host" else option)
            assert ours[key] == theirs[key], (scheme, option)
            assert str(ours[key]).lower() in (value, "false", f"{value}.0"), (scheme, option)


@pytest.mark.parametrize(
    "url",
    [
        "redis://me:hunter2@broker.lan/0",
        "rediss://:hunter2@broker.lan/0",
        "unix://:hunter2@/run/valkey.sock",
        "sentinel://:hunter2@a/0;sentinel://:hunter2@b/0?master_name=m&sentinel_password=hunter2",
    ],
)
def test_neither_client_shows_a_password(url: str) -> None:
    address, theirs = BrokerAddress.parse(url), told_celery(url)
    for text in (repr(address), str(address), theirs.as_uri(), repr(theirs), repr(connect(url))):
        assert "hunter2" not in text
