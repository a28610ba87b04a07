"""The HTTP side: pages, JSON API, metrics. It reads the store and writes the inbox; it never acts by itself.

A 202 therefore means "in the inbox": the process that owns the stream folds the letter in and acts. That is what lets
any replica take any request, and what keeps a flaw in here from moving traffic.
"""

from watchdog.web.app import make_app
from watchdog.web.services import Identify, WebServices

__all__ = ["Identify", "WebServices", "make_app"]
