"""`maskmill servers purge`: all that a pair of servers keeps goes, unless somebody uses it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from maskmill.settings import S3Settings
from maskmill.storage.store import Store
from maskmill_producer import embedded
from maskmill_producer.embedded.purge import purge

MASKMILL = str(Path(sys.executable).parent / "maskmill")


def store_of(servers: embedded.Servers) -> Store:
    s3 = S3Settings(
        endpoint_url=servers.s3_endpoint_url,
        access_key_id=servers.access_key_id,
        secret_access_key=servers.secret_access_key,  # type: ignore[arg-type]
        region=servers.region,
    )
    return Store(f"s3://{servers.bucket}/purge", s3)


def test_a_purge_is_refused_while_the_servers_are_used_and_then_leaves_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "servers"
    environment = {"MASKMILL_STATE_DIR": str(folder), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}

    def command(*arguments: str, answer: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [MASKMILL, "servers", "purge", *arguments],
            env=environment,
            input=answer,
            capture_output=True,
            text=True,
            timeout=60,
        )

    with embedded.running(folder) as servers:
        store_of(servers).put("mask", b"x" * 100_000)
        with pytest.raises(embedded.EmbeddedServersFailed, match="in use"):
            purge(folder)
        assert store_of(servers).exists("mask")
    embedded.start(folder)
    try:
        refused = command("--yes")
        assert (refused.returncode, "maskmill servers stop" in refused.stderr) == (5, True)
    finally:
        embedded.stop(folder)

    said_no, unasked = command(answer="n\n"), command("--json")
    assert (said_no.returncode, unasked.returncode) == (2, 2)
    assert said_no.stderr.splitlines()[-1].startswith("error: nothing was deleted")
    assert any((folder / "object-store").iterdir())
    said_yes = command(answer="y\n")

    assert said_yes.returncode == 0, said_yes.stderr
    assert not [path for path in folder.rglob("*") if path.is_file() and path.name != "lock"]
    with embedded.running(folder) as servers:
        assert list(store_of(servers).list()) == []
    assert purge(tmp_path / "never made") == 0
