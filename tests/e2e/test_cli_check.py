"""`payrouter check`: each finding, its next step and the exit code."""

from __future__ import annotations

import json

from e2e.cli_client import TOKEN, payrouter, processors_json, router, simulator


def checked(folder, **settings):
    ended = payrouter(folder, "check", "--json", **settings)
    assert "Traceback" not in ended.stderr
    answer = json.loads(ended.stdout)
    assert ended.returncode == (0 if answer["ok"] else 1)
    return answer


def bad(answer):
    return {one["subject"]: one for one in answer["findings"] if one["level"] != "ok"}


def test_a_sound_installation_is_all_well_and_secrets_stay_hidden(tmp_path):
    with simulator(tmp_path, "default", "--token", "s3cret") as default:
        url = default.url.replace("http://", "http://user:passw0rd@")
        processors = json.dumps([{"name": "default", "url": url, "fee": "0.05", "admin_token": "s3cret"}])
        answer = checked(tmp_path, PAYROUTER_PROCESSORS=processors)
        assert answer["ok"]
        assert not bad(answer)
        ended = payrouter(tmp_path, "check", PAYROUTER_PROCESSORS=processors)
        assert ended.returncode == 0
        for secret in ("s3cret", "passw0rd"):
            assert secret not in ended.stdout + json.dumps(answer)
        assert "***" in ended.stdout
        assert "not there yet; payrouter serve creates it" in ended.stdout
        assert not (tmp_path / "payrouter.db").exists()
        headers = {"X-Rinha-Token": "s3cret"}
        assert default.call("GET", "/admin/stats", **headers)[1]["health"]["calls"] == 0


def test_a_running_router_is_seen_and_not_disturbed(tmp_path):
    with simulator(tmp_path) as default:
        processors = processors_json(default=default.url)
        with router(tmp_path, PAYROUTER_PROCESSORS=processors) as serving:
            said = json.dumps(checked(tmp_path, PAYROUTER_PROCESSORS=processors))
            assert "in use by a running router" in said
            assert serving.call("GET", "/health")[0] == 200
        assert "no router runs on it" in json.dumps(checked(tmp_path, PAYROUTER_PROCESSORS=processors))


def test_processors_that_are_away_or_are_none_are_errors_with_a_next_step(tmp_path):
    with simulator(tmp_path) as default:
        processors = processors_json(
            default="http://127.0.0.1:1", fallback=f"{default.url}/elsewhere", third=default.url
        )
        answer = checked(tmp_path, PAYROUTER_PROCESSORS=processors)
    assert not answer["ok"]
    assert "cannot connect" in bad(answer)["processor default"]["found"]
    assert "mend its url" in bad(answer)["processor default"]["nextStep"]
    assert "processor third" not in bad(answer)


def test_a_refused_admin_token_is_a_warning(tmp_path):
    with simulator(tmp_path, "default", "--token", "other") as default:
        answer = checked(tmp_path, PAYROUTER_PROCESSORS=processors_json(default=default.url))
        assert default.call("GET", "/admin/stats", **TOKEN)[0] == 401
    assert answer["ok"]
    assert bad(answer)["processor default"]["level"] == "warning"
    assert "audit will not" in bad(answer)["processor default"]["found"]


def test_no_processors_and_no_folder_are_errors(tmp_path):
    answer = checked(tmp_path, PAYROUTER_DATA="nowhere/payrouter.db")
    assert not answer["ok"]
    assert "PAYROUTER_PROCESSORS" in bad(answer)["processors"]["nextStep"]
    assert bad(answer)["data file nowhere/payrouter.db"]["found"] == "its folder is not there"


def test_a_file_that_is_not_ours_is_an_error(tmp_path):
    (tmp_path / "payrouter.db").write_text("no database " * 100)
    assert "payrouter.db" in bad(checked(tmp_path))["data file payrouter.db"]["found"]
