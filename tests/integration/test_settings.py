"""Settings from the environment, `.env` and TOML: what is understood, and what is said about what is not."""

from __future__ import annotations

import json
from decimal import Decimal
from hashlib import sha256
from pathlib import Path

import pytest

from payrouter.domain.errors import InvalidSettings
from payrouter.domain.processor import Processor
from payrouter.entrypoints.cli.check import settings_in_words
from payrouter.settings import Address, Settings, load_settings

TWO = '[{"name":"default","url":"http://a:8001","fee":"0.05"},{"name":"fallback","url":"https://b","fee":0.15}]'


def load(folder: Path, **environ: str) -> Settings:
    """Load with names given without their prefix."""
    return load_settings({f"PAYROUTER_{name}": value for name, value in environ.items()}, folder)


def findings(folder: Path, **environ: str) -> list[str]:
    with pytest.raises(InvalidSettings) as raised:
        load(folder, **environ)
    assert str(raised.value) == "invalid settings:\n" + "\n".join(f"  - {one}" for one in raised.value.findings)
    return raised.value.findings


# -- what is understood


def test_without_anything_the_defaults_are_in_force(tmp_path):
    assert load_settings({"PATH": "/bin", "PAYROUTE": "x"}, tmp_path) == Settings()


@pytest.mark.parametrize(
    ("name", "text", "field", "value"),
    [
        ("DATA", "/var/lib/p.db", "data", Path("/var/lib/p.db")),
        ("DATA", "~/p.db", "data", Path.home() / "p.db"),
        ("BIND", "0.0.0.0:80", "bind", Address("0.0.0.0", 80)),
        ("BIND", "localhost:0", "bind", Address("localhost", 0)),
        ("BIND", "[::1]:9999", "bind", Address("::1", 9999)),
        ("BIND", "unix:/run/p.sock", "bind", Address(path=Path("/run/p.sock"))),
        ("POLICY", "latency-ratio", "policy", "latency-ratio"),
        ("POLICY", "least-cost", "policy", "least-cost"),
        ("PATIENCE_S", "0", "patience_s", 0.0),
        ("PATIENCE_S", "2.5", "patience_s", 2.5),
        ("LATENCY_CEILING_MS", "250", "latency_ceiling_ms", 250.0),
        ("ATTEMPT_TIMEOUT_S", "0.1", "attempt_timeout_s", 0.1),
        ("MAX_IN_FLIGHT", "1", "max_in_flight", 1),
        ("QUEUE_LIMIT", "1e6", "queue_limit", 1_000_000),
        ("STOP_TIMEOUT_S", "600", "stop_timeout_s", 600.0),
        *(("ALLOW_PURGE", text, "allow_purge", True) for text in ("true", "1", "Yes", " ON ")),
        *(("ALLOW_PURGE", text, "allow_purge", False) for text in ("false", "0", "no", "Off")),
        (
            "PROCESSORS",
            TWO,
            "processors",
            (
                Processor("default", "http://a:8001", Decimal("0.05")),
                Processor("fallback", "https://b", Decimal("0.15")),
            ),
        ),
    ],
)
def test_every_setting_is_read_from_the_environment(tmp_path, name, text, field, value):
    settings = load(tmp_path, **{name: text})
    assert getattr(settings, field) == value
    assert type(getattr(settings, field)) is type(value)


@pytest.mark.parametrize(
    ("fee", "understood"),
    [('"0.05"', "0.05"), ("0.05", "0.05"), ("0.1", "0.1"), ("0", "0.0"), ('"0"', "0"), ('"0.999999"', "0.999999")],
)
def test_a_fee_is_exactly_what_was_written(tmp_path, fee, understood):
    (processor,) = load(tmp_path, PROCESSORS=f'[{{"name":"a","url":"http://a","fee":{fee}}}]').processors
    assert processor.fee == Decimal(understood)


def test_a_processor_may_have_an_admin_token_and_loses_the_slash_at_the_end_of_its_url(tmp_path):
    text = '[{"name":"a.b-c_1","url":"http://[::1]:8001/base/","fee":"0","admin_token":"secret"}]'
    assert load(tmp_path, PROCESSORS=text).processors == (
        Processor("a.b-c_1", "http://[::1]:8001/base", Decimal(0), "secret"),
    )


def test_a_processor_may_have_headers_that_are_shown_nowhere(tmp_path):
    (one,) = load(
        tmp_path, PROCESSORS=processor(headers={"Authorization": f"Bearer {SECRET}", "X-Empty": ""})
    ).processors
    assert one.headers == (("Authorization", f"Bearer {SECRET}"), ("X-Empty", ""))
    assert SECRET not in f"{one!r} {one}"


# -- who may do what

SECRET = "0123456789abcdef-t0p"
DIGEST = sha256(SECRET.encode()).digest()


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("", {}),
        (" , ", {}),
        (f"shop:{SECRET}", {"shop": DIGEST}),
        (f" shop:{SECRET} , till:sha256:{DIGEST.hex()},", {"shop": DIGEST, "till": DIGEST}),
        (f"shop:sha256:{DIGEST.hex().upper()}", {"shop": DIGEST}),
        # What follows the first colon is the key.
        (f"shop:{SECRET}:more", {"shop": sha256(f"{SECRET}:more".encode()).digest()}),
    ],
)
def test_api_keys_are_kept_as_digests(tmp_path, text, keys):
    settings = load(tmp_path, API_KEYS=text)
    assert {one.name: one.digest for one in settings.api_keys} == keys
    assert SECRET not in repr(settings)
    assert DIGEST.hex() not in repr(settings)
    assert repr(DIGEST) not in repr(settings)


def test_api_keys_of_toml_are_a_list(tmp_path):
    (tmp_path / "payrouter.toml").write_text(f'api_keys = ["shop:{SECRET}", "till:sha256:{DIGEST.hex()}"]\n')
    assert [(one.name, one.digest) for one in load_settings({}, tmp_path).api_keys] == [
        ("shop", DIGEST),
        ("till", DIGEST),
    ]


@pytest.mark.parametrize(
    ("text", "finding"),
    [
        (SECRET, "must be name:key pairs separated by commas (keys are not shown here)"),
        (f":{SECRET}", "must be name:key pairs separated by commas (keys are not shown here)"),
        (f"a b:{SECRET}", "must be name:key pairs separated by commas (keys are not shown here)"),
        (f"shop:{SECRET};till:{SECRET} x", "must be at least 16 printable ASCII characters without spaces"),
        ("shop:", "must have a key after the colon, unlike shop"),
        ("shop:t0p", "must be at least 16 printable ASCII characters without spaces, got 3 that are not shown"),
        (f"shop:{SECRET}\x7f", "must be at least 16 printable ASCII characters"),
        (f"shop:{SECRET}ä", "must be at least 16 printable ASCII characters"),
        (f"shop:sha256:{SECRET}", "must have 64 hex digits after sha256:, unlike that of shop"),
        (f"shop:sha256:{DIGEST.hex()[:-2]}", "must have 64 hex digits after sha256:, unlike that of shop"),
        (f"shop:{SECRET},shop:{SECRET}2", "must have different names, got shop, shop"),
    ],
)
def test_wrong_api_keys_are_named_without_a_key(tmp_path, text, finding):
    (found,) = findings(tmp_path, API_KEYS=text)
    assert found.startswith(f"PAYROUTER_API_KEYS {finding}")
    assert "t0p" not in found
    assert DIGEST.hex()[:20] not in found


@pytest.mark.parametrize("name", ["ADMIN_TOKEN", "WEBHOOK_SECRET"])
@pytest.mark.parametrize("text", ["t0p", "t0p 0123456789abcdef", "t0p-0123456789abcdef\n", "t0p-0123456789abcdéf"])
def test_a_secret_that_is_easily_guessed_or_cannot_be_sent_is_an_error_that_does_not_show_it(tmp_path, name, text):
    (found,) = findings(tmp_path, **{name: text})
    assert found.startswith(f"PAYROUTER_{name} must be at least 16 printable ASCII characters without spaces, got ")
    assert "t0p" not in found


@pytest.mark.parametrize(
    ("bind", "address"),
    [
        ("127.0.0.1:8080", Address("127.0.0.1", 8080)),
        ("127.9.9.9:0", Address("127.9.9.9", 0)),
        ("[::1]:8080", Address("::1", 8080)),
        ("localhost:8080", Address("localhost", 8080)),
        ("unix:/run/admin.sock", Address(path=Path("/run/admin.sock"))),
        ("off", None),
        (" OFF ", None),
    ],
)
def test_where_only_this_machine_reaches_the_operators_pages_no_token_is_needed(tmp_path, bind, address):
    assert load(tmp_path, ADMIN_BIND=bind).admin_bind == address


@pytest.mark.parametrize(
    "bind", ["0.0.0.0:8080", "[::]:8080", "10.0.0.1:8080", "admin.example:8080", "localhost.evil:80"]
)
def test_where_others_reach_them_there_must_be_one(tmp_path, bind):
    (found,) = findings(tmp_path, ADMIN_BIND=bind)
    assert found.startswith("PAYROUTER_ADMIN_TOKEN must be set where others can reach the operator's pages, as on ")
    assert load(tmp_path, ADMIN_BIND=bind, ADMIN_TOKEN=SECRET).admin_token == SECRET


def test_toml_turns_the_operators_pages_off_with_a_word_or_false(tmp_path):
    for value in ('"off"', "false"):
        (tmp_path / "payrouter.toml").write_text(f"admin_bind = {value}\n")
        assert load_settings({}, tmp_path).admin_bind is None


@pytest.mark.parametrize("bind", ["", "8080", "none", "127.0.0.1:99999"])
def test_what_is_no_address_for_them_is_named_with_the_word_for_none(tmp_path, bind):
    assert findings(tmp_path, ADMIN_BIND=bind) == [
        f"PAYROUTER_ADMIN_BIND must be host:port or unix:/path or off, got {bind!r}"
    ]


def test_webhooks_need_a_secret(tmp_path):
    url = "https://hooks.example/payrouter"
    (found,) = findings(tmp_path, WEBHOOK_URL=url)
    assert found.startswith("PAYROUTER_WEBHOOK_SECRET must be set too: ")
    settings = load(tmp_path, WEBHOOK_URL=url, WEBHOOK_SECRET=SECRET)
    assert (settings.webhook_url, settings.webhook_secret) == (url, SECRET)
    assert load(tmp_path, WEBHOOK_SECRET=SECRET).webhook_url == ""
    (found,) = findings(tmp_path, WEBHOOK_URL="ftp://user:t0p@hooks.example", WEBHOOK_SECRET=SECRET)
    assert "t0p" not in found


@pytest.mark.parametrize(("text", "per_s"), [("0", 0.0), ("0.5", 0.5), ("1e6", 1_000_000.0)])
def test_a_rate_is_a_number_of_payments_a_second(tmp_path, text, per_s):
    assert load(tmp_path, RATE_LIMIT_PER_S=text).rate_limit_per_s == per_s


def test_no_secret_is_shown_by_settings_or_by_payrouter_check(tmp_path):
    processors = json.dumps(
        [
            {
                "name": "default",
                "url": "https://user:t0p-url@a",
                "fee": "0.05",
                "admin_token": "t0p-books",
                "headers": {"X-Key": "t0p-header"},
            }
        ]
    )
    settings = load(
        tmp_path,
        PROCESSORS=processors,
        API_KEYS=f"shop:t0p-key-{SECRET},till:sha256:{DIGEST.hex()}",
        ADMIN_TOKEN=f"t0p-admin-{SECRET}",
        WEBHOOK_URL="https://me:t0p-hook@hooks.example/in?token=t0p-query",
        WEBHOOK_SECRET=f"t0p-sign-{SECRET}",
        REDIS_URL="redis://:t0p-redis@a",
        POSTGRES_URL="postgresql://me:t0p-postgres@a/b",
    )
    words = settings_in_words(settings)
    assert "t0p" not in json.dumps(words)
    assert DIGEST.hex()[:16] not in json.dumps(words)
    assert words["PAYROUTER_API_KEYS"] == "shop ***, till ***"
    assert words["PAYROUTER_ADMIN_TOKEN"] == words["PAYROUTER_WEBHOOK_SECRET"] == "***"
    assert words["PAYROUTER_PROCESSORS"] == "default https://user:***@a fee 5 % admin_token *** X-Key ***"
    assert words["PAYROUTER_WEBHOOK_URL"] == "https://me:***@hooks.example/in?token=***"
    for hidden in (
        "t0p-header",
        "t0p-books",
        "t0p-admin",
        "t0p-sign",
        "t0p-key",
        "t0p-hook",
        "t0p-redis",
        "t0p-postgres",
    ):
        assert hidden not in repr(settings)


def test_an_address_is_worded_as_it_is_written():
    assert [str(Address("h", 1)), str(Address(path=Path("/p")))] == ["h:1", "unix:/p"]


# -- where it comes from


def test_the_environment_wins_over_dotenv_which_wins_over_toml(tmp_path):
    (tmp_path / "payrouter.toml").write_text("patience_s = 1\nmax_in_flight = 1\nqueue_limit = 1\n")
    (tmp_path / ".env").write_text("PAYROUTER_MAX_IN_FLIGHT=2\nPAYROUTER_QUEUE_LIMIT=2\nOTHER=x\n")
    settings = load(tmp_path, QUEUE_LIMIT="3")
    assert (settings.patience_s, settings.max_in_flight, settings.queue_limit) == (1.0, 2, 3)


def test_dotenv_takes_quotes_comments_and_export(tmp_path):
    text = f"# ours\nexport PAYROUTER_POLICY='latency-ratio'  # why\nPAYROUTER_PROCESSORS='{TWO}'\n"
    (tmp_path / ".env").write_text(text)
    settings = load_settings({}, tmp_path)
    assert (settings.policy, len(settings.processors)) == ("latency-ratio", 2)


def test_toml_takes_values_of_its_own_types(tmp_path):
    (tmp_path / "payrouter.toml").write_text(
        'data = "größe.db"\nbind = "unix:/run/x"\npatience_s = 1.5\nqueue_limit = 5\nallow_purge = true\n'
        '[[processors]]\nname = "default"\nurl = "http://a:1"\nfee = 0.05\n'
        '[[processors]]\nname = "fallback"\nurl = "http://b:1"\nfee = "0.15"\n',
        encoding="utf-8",
    )
    settings = load_settings({}, tmp_path)
    assert settings.data == Path("größe.db")
    assert settings.bind == Address(path=Path("/run/x"))
    assert (settings.patience_s, settings.queue_limit, settings.allow_purge) == (1.5, 5, True)
    assert [(one.name, one.fee) for one in settings.processors] == [
        ("default", Decimal("0.05")),
        ("fallback", Decimal("0.15")),
    ]


def test_another_toml_file_can_be_named_in_the_environment_or_in_dotenv(tmp_path):
    (tmp_path / "payrouter.toml").write_text("queue_limit = 1")
    (tmp_path / "other.toml").write_text("queue_limit = 2")
    (tmp_path / "third.toml").write_text("queue_limit = 3")
    assert load(tmp_path, CONFIG="other.toml").queue_limit == 2
    assert load(tmp_path, CONFIG=str(tmp_path / "other.toml")).queue_limit == 2
    (tmp_path / ".env").write_text("PAYROUTER_CONFIG=third.toml")
    assert load_settings({}, tmp_path).queue_limit == 3
    assert load(tmp_path, CONFIG="other.toml").queue_limit == 2


# -- what is wrong


@pytest.mark.parametrize(
    ("name", "text", "finding"),
    [
        ("PATIENCE_S", "-3", "must be at least 0, got -3"),
        ("PATIENCE_S", "86401", "must be at most 86400, got 86401"),
        ("PATIENCE_S", "inf", "must be at most 86400, got inf"),
        ("PATIENCE_S", "nan", "must be a number, got 'nan'"),
        ("PATIENCE_S", "soon", "must be a number, got 'soon'"),
        ("PATIENCE_S", "", "must be a number, got ''"),
        ("PATIENCE_S", "10 s", "must be a number, got '10 s'"),
        ("LATENCY_CEILING_MS", "0", "must be at least 1, got 0"),
        ("ATTEMPT_TIMEOUT_S", "0", "must be at least 0.1, got 0"),
        ("ATTEMPT_TIMEOUT_S", "601", "must be at most 600, got 601"),
        ("MAX_IN_FLIGHT", "0", "must be at least 1, got 0"),
        ("MAX_IN_FLIGHT", "1.5", "must be a whole number, got 1.5"),
        ("MAX_IN_FLIGHT", "10001", "must be at most 10000, got 10001"),
        ("QUEUE_LIMIT", "0", "must be at least 1, got 0"),
        ("QUEUE_LIMIT", "2000000000", "must be at most 1000000000, got 2000000000"),
        ("STOP_TIMEOUT_S", "-1", "must be at least 0, got -1"),
        ("ALLOW_PURGE", "maybe", "must be true or false, got 'maybe'"),
        ("ALLOW_PURGE", "", "must be true or false, got ''"),
        ("POLICY", "cheapest", "must be least-cost or latency-ratio, got 'cheapest'"),
        ("DATA", "", "must name a file, got an empty text"),
        ("BIND", "9999", "must be host:port or unix:/path, got '9999'"),
        ("BIND", ":9999", "must be host:port or unix:/path, got ':9999'"),
        ("BIND", "host:", "must be host:port or unix:/path, got 'host:'"),
        ("BIND", "host:http", "must be host:port or unix:/path, got 'host:http'"),
        ("BIND", "host:65536", "must be host:port or unix:/path, got 'host:65536'"),
        ("BIND", "host:-1", "must be host:port or unix:/path, got 'host:-1'"),
        ("BIND", "unix:", "must be host:port or unix:/path, got 'unix:'"),
        ("BIND", "", "must be host:port or unix:/path, got ''"),
    ],
)
def test_a_wrong_value_is_named_with_what_is_possible_and_what_came(tmp_path, name, text, finding):
    assert findings(tmp_path, **{name: text}) == [f"PAYROUTER_{name} {finding}"]


def processor(**changes: object) -> str:
    return json.dumps([{"name": "default", "url": "http://a:8001", "fee": "0.05"} | changes])


@pytest.mark.parametrize(
    ("text", "finding"),
    [
        ("", "must be a JSON list like [{"),
        ("default", "must be a JSON list like [{"),
        ("{}", "must be a JSON list like [{"),
        ('{"name":"a","url":"http://a","fee":"0"}', "Expected `array`, got `object`"),
        ("[1]", "Expected `object`, got `int` - at `$[0]`"),
        ('[{"name":"a","url":"http://a"}]', "missing required field `fee`"),
        ('[{"name":"a","fee":"0"}]', "missing required field `url`"),
        (processor(cost=1), "unknown field `cost`"),
        (processor(name=None), "Expected `str`, got `null` - at `$[0].name`"),
        (processor(fee=True), "got `bool` - at `$[0].fee`"),
        ("[" * 100_000, "must be a JSON list like [{"),
        ('[{"name":"' + "\udcff" + '","url":"http://a","fee":"0"}]', "must be a JSON list like [{"),
        ("[]", "must name at least one processor, got an empty list"),
        (processor()[:-1] + "," + processor(url="http://b")[1:], "must have different names, got default, default"),
        (processor(name=""), "names are letters, digits, dot, dash and underscore, 40 at most, got ''"),
        (processor(name="a b"), "got 'a b'"),
        (processor(name="-a"), "got '-a'"),
        (processor(name="ä"), "got 'ä'"),
        (processor(name="a" * 41), f"got '{'a' * 41}'"),
        (processor(url=""), "urls look like http://host:port, got '' for default"),
        (processor(url="a:8001"), "got 'a:8001' for default"),
        (processor(url="//a"), "got '//a' for default"),
        (processor(url="ftp://a"), "got 'ftp://a' for default"),
        (processor(url="http://"), "got 'http://' for default"),
        (processor(url="http://:8001"), "got 'http://:8001' for default"),
        (processor(url="http://a:port"), "got 'http://a:port' for default"),
        (processor(url="http://a:0"), "got 'http://a:0' for default"),
        (processor(url="http://a:65536"), "got 'http://a:65536' for default"),
        (processor(url="http://[::1"), "urls look like http://host:port, got 'http://[::1' for default"),
        (processor(url="http://a?b=c"), "got 'http://a?b=c' for default"),
        (processor(url="http://a#b"), "got 'http://a#b' for default"),
        (processor(url="http://a:8001/x y"), "got 'http://a:8001/x y' for default"),
        (processor(url="http://a:8001/x\r\nB: c"), "got 'http://a:8001/x\\r\\nB: c' for default"),
        (processor(fee="5 %"), "fees are shares from 0 to below 1 (0.05 is 5 %), got '5 %' for default"),
        (processor(fee="1.5"), "got '1.5' for default"),
        (processor(fee=1.5), "got 1.5 for default"),
        (processor(fee=1), "got 1.0 for default"),
        (processor(fee="-0.01"), "got '-0.01' for default"),
        (processor(fee="NaN"), "got 'NaN' for default"),
        (processor(fee="sNaN"), "got 'sNaN' for default"),
        (processor(fee="Infinity"), "got 'Infinity' for default"),
        ('[{"name":"a","url":"http://a","fee":NaN}]', "must be a JSON list like [{"),
        (processor(headers={"X Key": "t0p"}), "headers of default must be named by letters, digits and dashes"),
        (processor(headers={"Bearer t0p": "X-Key"}), "headers of default must be named by letters, digits and dashes"),
        (processor(headers={"": "t0p"}), "headers of default must be named by letters, digits and dashes"),
        (processor(headers={"X-Key:": "t0p"}), "headers of default must be named by letters, digits and dashes"),
        *(
            (processor(headers={name: "t0p"}), f"headers of default must not set {name}, which the router sets itself")
            for name in ("Content-Length", "HOST", "transfer-encoding", "Accept", "traceparent", "X-Rinha-Token")
        ),
        *(
            (processor(headers={"X-Key": f"t0p{one}"}), "header X-Key of default must be one line of printable ASCII")
            for one in ("\r\nB: c", "\n", "\0", "é")
        ),
        (processor(headers={"X-Key": "t0p", "x-key": "t0p2"}), "headers of default must have different names"),
        (processor(headers={"X-Key": 1}), "Expected `str`, got `int` - at `$[0].headers[...]`"),
        (processor(headers=["X-Key: t0p"]), "Expected `object`, got `array` - at `$[0].headers`"),
        (
            processor(admin_token="a\r\nB: c"),
            "admin tokens are one line of printable characters, unlike that of default",
        ),
    ],
)
def test_wrong_processors_are_named_with_what_is_wrong(tmp_path, text, finding):
    (found,) = findings(tmp_path, PROCESSORS=text)
    assert found.startswith("PAYROUTER_PROCESSORS ")
    assert finding in found
    assert "t0p" not in found


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("PATIENCE", "did you mean PAYROUTER_PATIENCE_S?"),
        ("PROCESSOR", "did you mean PAYROUTER_PROCESSORS?"),
        ("MAX_INFLIGHT", "did you mean PAYROUTER_MAX_IN_FLIGHT?"),
        ("XYZZY", "known are PAYROUTER_PROCESSORS, PAYROUTER_DATA, PAYROUTER_BIND"),
        ("", "known are PAYROUTER_PROCESSORS"),
    ],
)
def test_an_unknown_name_is_an_error_with_the_nearest_known_one(tmp_path, name, hint):
    (finding,) = findings(tmp_path, **{name: "1"})
    assert finding.startswith(f"PAYROUTER_{name} is not a setting ({hint}")


def test_every_finding_is_told_at_once(tmp_path):
    (tmp_path / "payrouter.toml").write_text('policy = "x"\nworker = 1\n')
    (tmp_path / ".env").write_text("PAYROUTER_QUEUE_LIMIT\n")
    assert findings(tmp_path, PATIENCE_S="-3", PROCESSORS="[]") == [
        "PAYROUTER_POLICY must be least-cost or latency-ratio, got 'x'",
        next(one for one in findings(tmp_path, PATIENCE_S="-3") if "PAYROUTER_WORKER is not a setting" in one),
        "PAYROUTER_QUEUE_LIMIT must be a number, got None",
        "PAYROUTER_PATIENCE_S must be at least 0, got -3",
        "PAYROUTER_PROCESSORS must name at least one processor, got an empty list",
    ]


@pytest.mark.parametrize("value", ["true", "[]", '"x"', "{}", "nan", "-inf"])
def test_a_toml_value_of_another_kind_is_no_number(tmp_path, value):
    (tmp_path / "payrouter.toml").write_text(f"patience_s = {value}\n")
    (finding,) = findings(tmp_path)
    assert finding.startswith("PAYROUTER_PATIENCE_S must be ")


def test_a_named_file_that_is_not_there_is_an_error(tmp_path):
    assert findings(tmp_path, CONFIG="nowhere.toml") == ["PAYROUTER_CONFIG names nowhere.toml, which is not there"]
    assert findings(tmp_path, CONFIG=str(tmp_path)) == [f"PAYROUTER_CONFIG names {tmp_path}, which is not there"]


@pytest.mark.parametrize("content", [b"queue_limit =", b"\xff\xfe", b"queue_limit = 1\nqueue_limit = 2\n"])
def test_a_file_that_is_not_toml_is_named(tmp_path, content):
    (tmp_path / "payrouter.toml").write_bytes(content)
    (finding,) = findings(tmp_path)
    assert finding.startswith(f"{tmp_path / 'payrouter.toml'} is not TOML: ")


def test_a_dotenv_that_is_not_text_is_named(tmp_path):
    (tmp_path / ".env").write_bytes(b"PAYROUTER_DATA=\xff\xfe\n")
    (finding,) = findings(tmp_path)
    assert finding.startswith(f"{tmp_path / '.env'} is not UTF-8 text: ")


def test_the_toml_file_cannot_name_another_one(tmp_path):
    (tmp_path / "payrouter.toml").write_text('config = "other.toml"\n')
    (finding,) = findings(tmp_path)
    assert finding.startswith("PAYROUTER_CONFIG is not a setting")
