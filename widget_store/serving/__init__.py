"""Keeps the shop alive: who serves it, who starts that process again, and who recovers whose workflows."""
