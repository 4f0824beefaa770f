"""What every subcommand shares: help, wrong usage, wrong settings. In this process, where nothing runs for long."""

from __future__ import annotations

import os
import sys
from subprocess import CompletedProcess

import pytest

from e2e.cli_client import TOKEN, call, clean_environment, payrouter, simulator
from payrouter.entrypoints.cli.app import run_cli

COMMANDS = {
    "serve": (),
    "demo": (),
    "api": (),
    "dispatcher": (),
    "migrate": (),
    "check": ("--json",),
    "summary": ("--from", "--to", "--json"),
    "audit": ("--from", "--to", "--json", "--follow", "--every", "--settle-for", "--repair", "--dry-run"),
    "dead-letters": ("list", "retry"),
    "simulate-processor": ("--port", "--fee", "--name", "--token", "--delay-ms", "--failing", "--chunked"),
}


@pytest.fixture
def command(tmp_path, monkeypatch, capsys):
    """Return what runs one command in an empty folder."""

    def run(*arguments, **settings):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["payrouter", *arguments])
        monkeypatch.setattr(os, "environ", clean_environment(**settings))
        with pytest.raises(SystemExit) as ended:
            run_cli()
        said = capsys.readouterr()
        return CompletedProcess(arguments, ended.value.code or 0, said.out, said.err)

    return run


def test_help_lists_every_command(command):
    shown = command("--help")
    assert shown.returncode == 0
    assert all(name in shown.stdout for name in COMMANDS)


@pytest.mark.parametrize("name", [*COMMANDS, "dead-letters list", "dead-letters retry"])
def test_every_command_has_help_with_an_example(command, name):
    shown = command(*name.split(), "--help")
    assert shown.returncode == 0
    assert all(option in shown.stdout for option in COMMANDS.get(name, ()))
    if name != "dead-letters":
        assert "Example:" in shown.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("summary", "--from", "yesterday"), "--from must be RFC 3339 with a zone"),
        (("summary", "--from", "2026-01-02T00:00:00Z", "--to", "2026-01-01T00:00:00Z"), "not be after to"),
        (("audit", "--from", "2999-01-01T00:00:00Z"), "at least 2 s in the past"),
        (("dead-letters", "retry"), "name the ids to send again, or give --all"),
        (("dead-letters", "retry", "--all", "4a7901b8-7d26-4d9d-aa19-4dc1c7cf60b3"), "not both"),
        (("dead-letters", "retry", "17"), "correlationId must be a UUID"),
        (("simulate-processor", "--fee", "5%"), "--fee must be a share from 0 to below 1"),
        (("simulate-processor", "--port", "70000"), "65535"),
        (("audit",), "PAYROUTER_PROCESSORS must name at least one processor"),
        (("audit", "--dry-run"), "--dry-run is for --repair"),
        (("audit", "--every", "5"), "--every is for --follow"),
        (("audit", "--follow", "--to", "2026-01-01T00:00:00Z"), "--follow has no end"),
        (("pay",), "No such command"),
        (("api", "--port", "1"), "No such option"),
        (("dispatcher", "now"), "unexpected extra argument"),
        (("dead-letters", "retry", "1752582896123-0"), "is no payment: it cannot be sent"),
    ],
)
def test_wrong_usage_is_named_and_ends_with_two(command, arguments, said):
    ended = command(*arguments)
    assert ended.returncode == 2
    # Long messages are folded, and framed, to the width of whatever this runs in.
    assert said in " ".join(ended.stderr.replace("│", " ").split())
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("arguments", [("check",), ("summary",), ("demo",)])
def test_wrong_settings_are_named_and_end_with_two(command, arguments):
    ended = command(*arguments, PAYROUTER_PATIENCE="3", PAYROUTER_POLICY="cheap")
    assert ended.returncode == 2
    assert "PAYROUTER_PATIENCE is not a setting (did you mean PAYROUTER_PATIENCE_S?)" in ended.stderr
    assert "PAYROUTER_POLICY must be least-cost or latency-ratio, got 'cheap'" in ended.stderr


@pytest.mark.parametrize("arguments", [("summary",), ("dead-letters", "list"), ("dead-letters", "retry", "--all")])
def test_without_a_data_file_the_message_says_where_one_was_looked_for(command, tmp_path, arguments):
    ended = command(*arguments)
    assert ended.returncode == 1
    assert "there is no data file payrouter.db; PAYROUTER_DATA names it" in ended.stderr
    assert not list(tmp_path.iterdir())


def test_a_file_that_is_not_ours_is_named(tmp_path):
    (tmp_path / "payrouter.db").write_text("this is no database, but it is long enough to be asked about" * 20)
    for arguments in (("summary",), ("dead-letters", "retry", "--all")):
        ended = payrouter(tmp_path, *arguments)
        assert ended.returncode == 1
        assert "payrouter.db" in ended.stderr
        assert "Traceback" not in ended.stderr


def test_a_simulated_processor_takes_its_options(tmp_path):
    options = ("--fee", "0.2", "--token", "abc", "--delay-ms", "20", "--failing", "--chunked")
    with simulator(tmp_path, "north", *options) as processor:
        url = processor.url
        headers = {"X-Rinha-Token": "abc"}
        assert processor.call("GET", "/admin/payments-summary", **TOKEN)[0] == 401
        assert processor.call("GET", "/admin/payments-summary", **headers)[1]["feePerTransaction"] == 0.2
        assert processor.call("GET", "/admin/stats", **headers)[1]["name"] == "north"
        assert call(url, "PUT", "/admin/configurations/delay", {"delay": 0}, **headers)[1]["was"] == 20
        assert processor.process.stop() == 0
