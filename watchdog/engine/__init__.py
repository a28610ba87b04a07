"""Owns time and tasks: runs watches, follows services, carries messages. Names no adapter, no vendor, no SQL."""
