"""Imported first by the process from which workers are forked: from here on, no interrupt reaches it or them."""

from widget_store.system.processes import stand_apart

stand_apart()
