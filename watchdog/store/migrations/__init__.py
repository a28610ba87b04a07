"""Alembic's scripts, shipped in the wheel and run by `store.migrate` inside its own locked transaction.

A new one is a file in `versions/` whose `down_revision` is today's `schema.HEAD`; change `schema.py` and `HEAD` with it
(tests/store/test_migrations.py tells when they disagree). Only additive changes: an older process may still be running.
"""
