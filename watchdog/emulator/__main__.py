"""`python -m watchdog.emulator --listen HOST:PORT`: the emulated world as a process of its own."""

from watchdog.emulator.server import main

raise SystemExit(main())
