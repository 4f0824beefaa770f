"""What the pages show works: shell samples run, data parses, commands, options and targets exist."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from typer.main import get_command

from docs.pages import PAGES, ROOT, Block, blocks_of, code_of
from docs.shell import DANGEROUS, World, expected, fits, prepare, statuses, webhook_at_hand
from e2e.cli_client import TOKEN, call, payrouter, processors_json, router, simulator
from payrouter.entrypoints.cli.commands import app
from payrouter.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from payrouter_lab.cluster.servers import PostgresServer, RedisServer

SHELL = {"sh", "bash", "shell", "console"}
BLOCKS = [block for page in PAGES for block in blocks_of(page)]
SAMPLES = [block for block in BLOCKS if block.language in SHELL]
# Drawings and the like, which nobody would run.
PLAIN = {"", "text", "promql", "html", "xml", "http", "sql", "javascript", "js"}
DATA = {"json", "toml", "yaml", "yml", "python"}


def of(*languages: str) -> list[Block]:
    return [block for block in BLOCKS if block.language in languages and block.not_run is None]


# -- shell samples


@pytest.fixture(scope="module")
def world(
    tmp_path_factory: pytest.TempPathFactory, redis_server: RedisServer, postgres_server: PostgresServer
) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("samples")
    prepare(folder)
    redis, postgres = redis_server.url, postgres_server.create_database("samples")
    with simulator(folder) as default, simulator(folder, "fallback", "--fee", "0.15") as fallback:
        settings = {
            "PAYROUTER_PROCESSORS": processors_json(default=default.url, fallback=fallback.url),
            "PAYROUTER_DATA": str(folder / "samples.db"),
            "PAYROUTER_REDIS_PREFIX": "samples",
            # The tests' Redis is no place for payments.
            "PAYROUTER_ALLOW_UNSAFE_STORES": "true",
        }
        # An installation in use: its tables are there.
        stores = {"PAYROUTER_REDIS_URL": redis, "PAYROUTER_POSTGRES_URL": postgres}
        assert payrouter(folder, "migrate", **settings, **stores).returncode == 0
        with router(folder, **settings) as running:
            pages = re.search(r"pages are on (http://[\d.]+:\d+)", running.process.line("pages are on"))
            assert pages
            urls = {"default": default.url, "fallback": fallback.url}
            settings |= webhook_at_hand(folder)
            yield World(folder, settings, running.url, pages[1], urls, redis, postgres)
    postgres_server.drop_database("samples")


@pytest.fixture(scope="module")
def told() -> dict[str, str]:
    """The page that the samples were taken from last."""
    return {"page": ""}


@pytest.mark.parametrize("block", SAMPLES, ids=str)
def test_a_shell_sample_works(block: Block, world: World, told: dict[str, str]) -> None:
    if block.not_run is not None:
        pytest.skip(f"not run: {block.not_run}")
    if told["page"] != block.page:
        heal(world)
        told["page"] = block.page
    done = world.run(block.text)
    assert done.returncode == 0, f"{block} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
    # A sample that checks a signature says so; ours is right.
    assert "genuine" in done.stdout or "genuine" not in block.text
    wanted, got = expected(block.text), statuses(done)
    assert len(got) == len(wanted), f"{block} made {len(got)} calls"
    for one, status in zip(wanted, got, strict=True):
        assert fits(one, status), f"{block} was answered {got}:\n{done.stdout}"


def heal(world: World) -> None:
    """Make both processors well: each page begins with a world in which nothing is broken."""
    for url in world.processors.values():
        assert call(url, "PUT", "/admin/configurations/failure", {"failure": False}, **TOKEN)[0] == 200
        assert call(url, "PUT", "/admin/configurations/delay", {"delay": 0}, **TOKEN)[0] == 200


@pytest.mark.parametrize("block", SAMPLES, ids=str)
def test_a_sample_that_is_dangerous_or_not_run_says_why(block: Block) -> None:
    if DANGEROUS.search(block.text):
        assert block.not_run, f"put `<!-- not run: reason -->` before {block}"
    assert block.not_run is None or len(block.not_run) > 5


def test_a_dangerous_sample_is_never_run() -> None:
    nowhere = World(Path("/nowhere"), {}, "", "", {"default": "", "fallback": ""}, "", "")
    for text in (
        "pkill -9 -f payrouter",
        "true\nrm -rf x",
        "echo $(docker ps)",
        "a | sudo tee b",
        "pip install x",
        "curl -s http://10.0.0.1/",
    ):
        with pytest.raises(ValueError, match="could harm"):
            nowhere.run(text)


def test_a_wrong_sample_would_be_found(world: World) -> None:
    assert world.run("payrouter no-such-command").returncode != 0
    assert world.run("false\ntrue").returncode != 0
    done = world.run("curl -s localhost:9999/nowhere")
    assert [fits(*pair) for pair in zip(expected("curl -s x"), statuses(done), strict=True)] == [False]
    assert expected("# 409: why\ncurl a \\\n  -d b\ncurl c\n# a word\ncurl d | cat") == [409, None, None]


# -- data and programs


def test_blocks_have_a_language_that_somebody_looks_at() -> None:
    assert [f"{block}: {block.language}" for block in BLOCKS if block.language not in SHELL | DATA | PLAIN] == []


def values_of(text: str) -> list[str]:
    """Return the values of a block: one over several lines, or one on each."""
    lines = text.splitlines()
    return lines if all(line[:1] + line[-1:] == "{}" for line in lines) else [text]


def test_json_and_yaml_parse() -> None:
    assert of("json")
    for block in of("json"):
        for value in values_of(block.text):
            assert json.loads(value) is not None, block
    for block in of("yaml", "yml"):
        assert yaml.safe_load(block.text) is not None, block


def test_toml_is_a_file_of_settings(tmp_path: Path) -> None:
    assert of("toml")
    for block in of("toml"):
        (tmp_path / "payrouter.toml").write_text(block.text)
        load_settings({}, tmp_path)


def test_python_samples_run(tmp_path: Path) -> None:
    for block in of("python"):
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", block.text],
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
        assert done.returncode == 0, f"{block}: {done.stderr}"


# -- what is named exists

# Where a command begins: at the start, after another command, in quotes, or after what it finds in its environment.
_BEGINS = r"(?:^|[;&|'\"(]|\b[A-Z_]+=\S+)\s*"


@cache
def targets() -> set[str]:
    return set(re.findall(r"^([a-z][\w-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))


@cache
def options() -> dict[str, set[str]]:
    """Return the options of each command, by the words after `payrouter`."""
    found: dict[str, set[str]] = {}

    def look(command: Any, words: str) -> None:
        found[words] = {name for one in command.params for name in (*one.opts, *one.secondary_opts)} | {"--help"}
        for name, child in getattr(command, "commands", {}).items():
            look(child, f"{words} {name}".strip())

    look(get_command(app), "")
    return found


@pytest.mark.parametrize("page", PAGES)
def test_every_make_target_that_is_named_exists(page: str) -> None:
    named = {found[1] for text in code_of(page) for found in re.finditer(rf"{_BEGINS}make ([a-z][\w-]*)", text)}
    assert named <= targets()


@pytest.mark.parametrize("page", PAGES)
def test_every_command_and_option_that_is_named_exists(page: str) -> None:
    wrong = []
    for text in code_of(page):
        for found in re.finditer(rf"{_BEGINS}payrouter ((?:[a-z][\w-]*|-)[^|;&`#'\",)\n]*)", text):
            words = found[1].split()
            command = next(
                (name for name in (" ".join(words[:2]), words[0], "") if name in options() and name != ""),
                "" if words[0].startswith("-") else None,
            )
            if command is None:
                wrong.append(f"payrouter {found[1]}")
                continue
            named = {word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)}
            wrong += [f"payrouter {command} {one}" for one in named - options()[command]]
    assert wrong == []
