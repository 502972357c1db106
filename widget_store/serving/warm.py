"""Imported by the process from which workers are forked: what is imported on first use is imported there, once.

FastAPI imports a good part of itself when the first endpoint is made, and uvicorn when it is configured. Left to the
workers, that would be the larger half of the time that a crash costs the customers.
"""

import psycopg.types  # noqa: F401 - imported for its own sake, as all here
import sqlalchemy as sa
import uvicorn
from sqlalchemy.dialects.postgresql import psycopg as psycopg_dialect  # noqa: F401

from widget_store.endpoints import create_app
from widget_store.serving.server import serve  # noqa: F401

_app = create_app(lambda key: key, sa.create_engine("sqlite://"), executor_id="")
uvicorn.Config(_app, log_level="warning").load()
