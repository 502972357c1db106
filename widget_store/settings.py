"""Every setting, once, from the environment; the table in docs/reference.md is checked against this class."""

import os
import sys
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from widget_store.errors import SettingError

PREFIX = "WIDGET_STORE_"
_WITHOUT = {
    f"{PREFIX}WEBHOOK_SECRET": ("takes unsigned payments", "payments need no signature"),
    f"{PREFIX}CRASH_TOKEN": ("lets everybody crash it", "everybody may"),
}
"""The secrets: what a store without one does, and when that is right."""
_A_DAY = 86_400.0  # seconds
_CHECKOUT = Path(__file__).resolve().parent.parent


def default_data_dir() -> Path:
    """`.widget_store` in this account's own checkout of the project; in its home when the kit is installed elsewhere.

    Raises:
        SettingError: When it would be in the home folder, and this account has none.
    """
    if (_CHECKOUT / "pyproject.toml").exists() and is_own(_CHECKOUT):
        return _CHECKOUT / ".widget_store"
    try:
        return Path.home() / ".widget_store"
    except RuntimeError:
        raise SettingError(f"This account has no home folder: set {PREFIX}DATA_DIR to a folder of yours.") from None


def _data_dir(given: dict[str, Any]) -> Path:
    """The default, also where there is no home folder and none is needed: a given PostgreSQL keeps everything."""
    try:
        return default_data_dir()
    except SettingError:
        if (given.get("database_url") or "").startswith("postgresql"):
            return Path(".widget_store")
        raise


def is_own(checkout: Path) -> bool:
    """Whether it belongs to this account. A class may share one checkout: what is an account's own is at home then."""
    return sys.platform == "win32" or checkout.stat().st_uid == os.geteuid()


def _fit_for_a_header(secret: SecretStr) -> SecretStr:
    """The secret, if a header can carry it as it is: else nobody could ever show it."""
    text = secret.get_secret_value()
    if not (text.isascii() and text.isprintable() and " " not in text):
        raise ValueError("takes the letters, digits and signs of ASCII, and no spaces")
    return secret


def _usable_url(url: str) -> str:
    try:
        driver = make_url(url).drivername
    except ArgumentError as unreadable:
        raise ValueError("is not a database URL") from unreadable
    if driver not in {"postgresql", "postgresql+psycopg", "sqlite"}:
        raise ValueError("must start with postgresql+psycopg:// or sqlite:///")
    return url


class Settings(BaseSettings):
    """The settings of a store. Each is read from the environment variable WIDGET_STORE_ and its name in capitals."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, env_ignore_empty=True, hide_input_in_errors=True)

    database_url: Annotated[str, AfterValidator(_usable_url)] | None = Field(
        default=None,
        repr=False,  # it may hold a password
        description="a PostgreSQL server (`postgresql+psycopg://…`) or an SQLite file (`sqlite:///…`) to use "
        "instead of the embedded PostgreSQL",
    )
    payment_timeout: float = Field(
        default=60.0, gt=0, allow_inf_nan=False, description="seconds a checkout waits for its payment"
    )
    dispatch_interval: float = Field(
        default=1.0,
        ge=0,
        le=_A_DAY,
        allow_inf_nan=False,
        description="seconds that the dispatch sleeps before each of its ten steps",
    )
    webhook_secret: SecretStr | None = Field(
        default=None,
        description="when set, a payment needs the header `X-Widget-Signature`: hex HMAC-SHA256 of `PAYMENT_ID/STATUS`",
    )
    crash_token: Annotated[SecretStr, AfterValidator(_fit_for_a_header)] | None = Field(
        default=None,
        description="when set, `POST /crash_application` needs the header `X-Crash-Token` with this text; the lab "
        "makes up one for each store",
    )
    data_dir: Path = Field(
        default_factory=_data_dir, description="the folder of the embedded PostgreSQL, or of the SQLite files"
    )


def read_settings() -> Settings:
    """The settings from the environment.

    Raises:
        SettingError: When one has a value that can't be used; names the variable, never shows the value.
    """
    for name, value in os.environ.items():
        # Any other setting that is empty has its default. Here, that would open a door.
        if name.upper() in _WITHOUT and not value.strip():
            without, unset_it = _WITHOUT[name.upper()]
            raise SettingError(
                f"{name.upper()}: is empty, and a store without it {without}.\n"
                f"Set it to the secret, or unset it if {unset_it}."
            )
    try:
        return Settings()
    except ValidationError as invalid:
        problems = [
            f"{PREFIX}{str(problem['loc'][0]).upper()}: {str(problem['msg']).removeprefix('Value error, ')}"
            for problem in invalid.errors(include_url=False, include_input=False)
            if problem["type"] != "default_factory_not_called"  # which only follows from another problem
        ]
        raise SettingError("\n".join([*problems, "Correct it in the environment, or unset it."])) from None
