"""The Hub's configuration, made from the workshop's plan: JupyterHub reads this file."""

import os
import sys
from typing import Any

from widget_store.classroom.in_the_hub import ClassWordAuthenticator, SeatSpawner, plan_here
from widget_store.classroom.plan import GATEWAY
from widget_store.course.files import FIRST_LESSON

c: Any = get_config()  # type: ignore[name-defined]  # noqa: F821 - JupyterHub gives it
plan = plan_here()
os.umask(0o077)  # its database, its secret and its passwords

_ENDS_WITH_THE_HUB = ("setpriv", "--pdeathsig=TERM", "--")  # also when that is killed

c.JupyterHub.bind_url = plan.url
c.JupyterHub.ssl_cert = str(plan.certificate or "")
c.JupyterHub.ssl_key = str(plan.key or "")
c.JupyterHub.hub_ip, c.JupyterHub.hub_port = GATEWAY, plan.hub_port
c.JupyterHub.db_url = f"sqlite:///{plan.folder / 'hub.sqlite'}"
c.JupyterHub.cookie_secret_file = str(plan.folder / "cookie-secret")
c.ConfigurableHTTPProxy.api_url = f"http://127.0.0.1:{plan.proxy_port}"
# Without a certificate, there may be a proxy with TLS in front. What it says of the browser stays: cookies are secure.
_FORWARD = [] if plan.certificate else ["--no-x-forward"]
c.ConfigurableHTTPProxy.command = [*_ENDS_WITH_THE_HUB, "configurable-http-proxy", *_FORWARD]
c.ConfigurableHTTPProxy.pid_file = str(plan.folder / "proxy.pid")

c.JupyterHub.authenticator_class = ClassWordAuthenticator
c.Authenticator.allowed_users = {seat.name for seat in plan.seats}
c.Authenticator.request_otp = True
c.Authenticator.otp_prompt = "Class word (the first time only):"
c.ClassWordAuthenticator.class_word = plan.class_word
c.FirstUseAuthenticator.create_users = False
c.FirstUseAuthenticator.dbm_path = str(plan.folder / "passwords.dbm")

c.JupyterHub.spawner_class = SeatSpawner
c.Spawner.default_url = f"/lab/tree/{FIRST_LESSON}"
c.Spawner.poll_interval = 5
c.Spawner.http_timeout = c.Spawner.start_timeout = 120  # thirty may start at once, on two cores
c.LocalProcessSpawner.interrupt_timeout, c.LocalProcessSpawner.term_timeout = 10, 5  # its files are on the disk
c.JupyterHub.template_vars = {"announcement_login": "Your user name is that of your seat: seat-01, for example."}
c.JupyterHub.concurrent_spawn_limit = 8
c.JupyterHub.shutdown_on_logout = False

c.JupyterHub.services = [
    {"name": "workshop", "api_token": plan.hub_token},
    {
        "name": "idle-culler",
        "command": [
            *_ENDS_WITH_THE_HUB,
            *(sys.executable, "-P", "-m", "jupyterhub_idle_culler", f"--timeout={60 * plan.idle_minutes}"),
        ],
    },
]
c.JupyterHub.load_roles = [
    {"name": "workshop", "services": ["workshop"], "scopes": ["admin:users", "admin:servers", "read:hub"]},
    {
        "name": "idle-culler",
        "services": ["idle-culler"],
        "scopes": ["list:users", "read:users:activity", "read:servers", "delete:servers"],
    },
]
