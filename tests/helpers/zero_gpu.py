"""What the package `spaces` does on ZeroGPU, which cannot be reached from here, without its GPU and its queue.

As there, a function that yields runs in a process that is forked from this one when it is first needed and kept for
later calls; arguments go to it pickled, and what is yielded comes back pickled.
"""

import inspect
import multiprocessing
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any

FORK = multiprocessing.get_context("fork")


class Lender:
    """Lends processes. asked: for how many seconds each call asked for a GPU; contexts: of the threads that called."""

    def __init__(self) -> None:
        self.asked: list[float] = []
        self.contexts: list[Any] = []
        self.idle: list[_Process] = []
        self._lock = threading.Lock()

    def GPU(self, duration: Callable[..., float]) -> Callable[[Callable[..., Iterator[Any]]], Callable]:
        def decorate(task: Callable[..., Iterator[Any]]) -> Callable[..., Iterator[Any]]:
            assert inspect.isgeneratorfunction(task)

            def handler(*given: Any) -> Iterator[Any]:
                self.asked.append(duration(*given))
                self.contexts.append(copy_context())
                with self._lock:
                    process = self.idle.pop() if self.idle else _Process(task)
                process.arguments.put(given)
                while (came := process.come.get()) is not None:
                    yield came
                self.idle.append(process)

            return handler

        return decorate

    def close(self) -> None:
        for process in self.idle:
            process.process.kill()
            process.process.join()


class _Process:
    def __init__(self, task: Callable[..., Iterator[Any]]):
        self.arguments, self.come = FORK.SimpleQueue(), FORK.SimpleQueue()
        self.process = FORK.Process(target=self._serve, args=(task,), daemon=True)
        self.process.start()

    def _serve(self, task: Callable[..., Iterator[Any]]) -> None:
        while True:
            given = self.arguments.get()
            with ThreadPoolExecutor(1) as pool:
                pool.submit(self._run, task, given).result()
            self.come.put(None)

    def _run(self, task: Callable[..., Iterator[Any]], given: tuple[Any, ...]) -> None:
        for event in task(*given):
            self.come.put(event)
