"""Plays an incident from outside: a real emulator and a real daemon, each in a process of its own."""

from watchdog.demo.play import list_scenarios, play

__all__ = ["list_scenarios", "play"]
