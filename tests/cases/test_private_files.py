"""The store and all that lies beside it are for one pair of eyes, and no secret lies there in the clear."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import aiohttp
import pytest

from kernel.sealing.keys import make_key
from tests.harness import process
from tests.processes import start
from tests.service_contract.services import BOTH, SCANNER, ServiceUnderTest

pytestmark = pytest.mark.process
SECRET = "a secret that-nobody-may-read-on-a-disk"


@contextmanager
def open_handed() -> Iterator[None]:
    """Let whatever is started create files that everybody may read, as most systems do."""
    before = os.umask(0o022)
    try:
        yield
    finally:
        os.umask(before)


def modes(folder: Path) -> dict[str, str]:
    return {each.name: oct(stat.S_IMODE(each.stat().st_mode)) for each in sorted(folder.iterdir()) if each.is_file()}


def all_private(folder: Path) -> bool:
    return set(modes(folder).values()) == {"0o600"}


async def command(service: ServiceUnderTest, folder: Path, *arguments: str, **more: str) -> tuple[int | None, str]:
    started = await start(service.name, *arguments, env=service.environment(folder) | more, folder=folder)
    try:
        async with asyncio.timeout(60):
            said, _ = await started.communicate()
    finally:
        if started.returncode is None:
            started.kill()
            await started.wait()
    return started.returncode, said.decode()


@BOTH
@pytest.mark.parametrize("before", ["nothing", "files for everybody"])
async def test_store_helpers_lock_key_and_copies_are_private(
    service: ServiceUnderTest, tmp_path: Path, before: str
) -> None:
    store = service.store(tmp_path)
    with open_handed():
        if before != "nothing":
            service.kind.migrate(store)
            make_key(store)
            for left in ("", "-wal", "-shm", ".lock", ".key"):
                path = tmp_path / (store.name + left)
                path.touch()
                path.chmod(0o644)
        async with (
            aiohttp.ClientSession() as session,
            process(service.environment(tmp_path), session, service.name) as daemon,
        ):
            assert set(modes(tmp_path)) == {store.name + rest for rest in ("", "-shm", "-wal", ".key", ".lock")}
            assert all_private(tmp_path), modes(tmp_path)
            # What a library creates by itself is private as well.
            assert "Umask:\t0077" in Path(f"/proc/{daemon.process.pid}/status").read_text()  # noqa: ASYNC240
            code, said = await command(service, tmp_path, "backup", str(tmp_path / "copy.db"))
            assert (code, all_private(tmp_path)) == (0, True), (said, modes(tmp_path))
            assert f"{store}.key" in said
            assert f"{store}.key" in "".join(daemon.output)
            await daemon.terminate()
        code, said = await command(service, tmp_path, "restore", str(tmp_path / "copy.db"))
        assert code == 0, said
        assert store.name + ".before-restore" in modes(tmp_path)
        assert all_private(tmp_path), modes(tmp_path)
        code, said = await command(service, tmp_path, "check")
        assert (code, said.splitlines()[-1]) == (0, "ok")


async def test_without_a_key_in_the_settings_no_secret_lies_in_the_clear(tmp_path: Path) -> None:
    async with (
        aiohttp.ClientSession() as session,
        process(SCANNER.environment(tmp_path), session) as daemon,
    ):
        await daemon.api.create(callbackSecret=SECRET)
        await command(SCANNER, tmp_path, "backup", str(tmp_path / "copy.db"))
        await daemon.terminate()
    files = [each for each in tmp_path.iterdir() if each.is_file()]  # noqa: ASYNC240
    assert len(files) >= 4
    for each in files:
        assert SECRET.encode() not in each.read_bytes(), each
    async with (
        aiohttp.ClientSession() as session,
        process(SCANNER.environment(tmp_path), session) as daemon,
    ):
        assert (await daemon.api.get("/intents"))["intents"]


@BOTH
async def test_without_its_key_a_copy_is_neither_put_in_place_nor_called_well(
    service: ServiceUnderTest, tmp_path: Path
) -> None:
    store, copy = service.store(tmp_path), tmp_path / "copy.db"
    async with (
        aiohttp.ClientSession() as session,
        process(service.environment(tmp_path), session, service.name) as daemon,
    ):
        if service is SCANNER:
            await daemon.api.create(callbackSecret=SECRET)
        await command(service, tmp_path, "backup", str(copy))
        await daemon.terminate()
    right = (tmp_path / f"{store.name}.key").read_text().strip()
    (tmp_path / f"{store.name}.key").unlink()
    was = store.read_bytes()
    key = f"{service.prefix}SECRET_KEY"
    wrong = {key: "QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE="}

    for more in ({}, wrong):
        for arguments in (["restore", str(copy)], ["check"], ["check", str(copy)]):
            code, said = await command(service, tmp_path, *arguments, **more)
            assert code == 2, (arguments, said)
            assert "no key at hand opens it" in said
            assert f"belongs at {store}.key\n" in said
        assert store.read_bytes() == was
        assert not (tmp_path / f"{store.name}.before-restore").exists()
        code, said = await command(service, tmp_path, **more)  # nor does the daemon start, or make another key
        assert (code, len(said.splitlines())) == (1, 1), said
        assert not (tmp_path / f"{store.name}.key").exists()
    for more in ({key: right}, wrong | {f"{key}_FORMER": right}):
        for arguments in (["check", str(copy)], ["restore", str(copy)]):
            assert (await command(service, tmp_path, *arguments, **more))[0] == 0
    (tmp_path / f"{store.name}.key").write_text(right)
    assert (await command(service, tmp_path, "check", **wrong))[0] == 0  # the file's is a former key


@BOTH
async def test_a_key_in_the_settings_takes_over_from_the_file(service: ServiceUnderTest, tmp_path: Path) -> None:
    new = {f"{service.prefix}SECRET_KEY": "QkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkI="}
    env = service.environment(tmp_path)
    async with aiohttp.ClientSession() as session:
        async with process(env, session, service.name) as daemon:
            if service is SCANNER:
                await daemon.api.create(callbackSecret=SECRET)
            await daemon.terminate()
        async with process(env | new, session, service.name) as daemon:
            assert ".key" not in "".join(daemon.output)
            await daemon.terminate()
        (tmp_path / f"{service.store(tmp_path).name}.key").unlink()
        assert (await command(service, tmp_path, "check", **new))[0] == 0
        async with process(env | new, session, service.name) as daemon:
            assert await daemon.api.get("/health")


@BOTH
@pytest.mark.parametrize("content", [b"", b"not a key", b"\xff" * 40, b"QUFB"])
async def test_a_key_file_that_holds_no_key_stops_the_start(
    service: ServiceUnderTest, tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / f"{service.store(tmp_path).name}.key"
    path.write_bytes(content)
    code, said = await command(service, tmp_path)
    assert code == 1
    assert said.startswith(f"{path} holds no key")
    assert path.read_bytes() == content
