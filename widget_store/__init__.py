"""A fault-tolerant widget store on DBOS: a checkout that goes on from its last completed step, whatever is killed."""

from widget_store.exactly_once import sql_session, transaction

__all__ = ["sql_session", "transaction"]
