"""A TCP proxy that fails as networks do: it goes silent, or cuts."""

import asyncio
import contextlib


class Proxy:
    """Between a client and 127.0.0.1:`target`."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._open = asyncio.Event()
        self._open.set()
        self._answers = asyncio.Event()
        self._answers.set()
        self._trigger: bytes | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None

    @property
    def port(self) -> int:
        assert self._server is not None
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        self.thaw()
        self.cut()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def freeze(self) -> None:
        """Nothing goes either way, and nobody is told."""
        self._open.clear()

    def freeze_answers_after(self, words: bytes) -> None:
        """The next request with these words goes through; its answer and all after it do not."""
        self._trigger = words

    def thaw(self) -> None:
        self._trigger = None
        self._open.set()
        self._answers.set()

    def cut(self) -> None:
        """Reset every connection."""
        for writer in self._writers:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self._target)
        self._writers |= {writer, there_writer}
        for work in (self._pump(reader, there_writer, request=True), self._pump(there_reader, writer, request=False)):
            task = asyncio.create_task(work)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, request: bool) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                await self._open.wait()
                if not request:
                    await self._answers.wait()
                elif self._trigger is not None and self._trigger in data:
                    self._trigger = None
                    self._answers.clear()
                writer.write(data)
                await writer.drain()
        writer.close()
        self._writers.discard(writer)
