"""Watchdog: a post-deploy health watchdog for Google Cloud Run.

For 24 hours after a deploy it holds the service against the team's own tables and, when a rollback criterion is
proven, moves traffic back to the split that served before.
"""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("deploy-watchdog")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0+unknown"
