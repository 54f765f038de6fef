"""Many questions at once, but never more than a few: bounded tasks, and a loop of one's own."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


async def run_bounded(
    items: Iterable[Item], work: Callable[[Item], Awaitable[None]], limit: int
) -> None:
    """Do some work for every item, at most `limit` at a time.

    An item is drawn only when there is room for it, so that 100,000 items need no more memory
    than `limit`.

    Args:
        items: May be a generator; it is read as the work goes on.
        work: Called in the running event loop.
        limit: Most items in work at once.

    Raises:
        Exception: The first failure of `work`, after the items in work have been cancelled.

    Example:
        >>> seen = []
        >>> async def note(item): seen.append(item)
        >>> asyncio.run(run_bounded(iter("abc"), note, limit=2))
        >>> seen
        ['a', 'b', 'c']
    """
    slots = asyncio.Semaphore(limit)

    async def work_and_make_room(item: Item) -> None:
        try:
            await work(item)
        finally:
            slots.release()

    try:
        async with asyncio.TaskGroup() as group:
            for item in items:
                await slots.acquire()
                group.create_task(work_and_make_room(item))
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None


def run_in_thread(coroutine: Coroutine[Any, Any, Result]) -> Result:
    """Run a coroutine to its end in a thread with its own event loop.

    Jupyter already runs a loop in the main thread, where `asyncio.run` is refused.

    Args:
        coroutine: What to run; an interrupt of the waiting thread cancels it.

    Returns:
        What it returned.

    Example:
        >>> async def inside_jupyter(): return run_in_thread(asyncio.sleep(0, "done"))
        >>> asyncio.run(inside_jupyter())
        'done'
    """
    runner = asyncio.Runner()
    task = runner.get_loop().create_task(coroutine)

    async def join() -> Result:
        return await task

    def run() -> Result:
        with runner:
            return runner.run(join())

    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="teacher") as pool:
        future = pool.submit(run)
        try:
            return future.result()
        except KeyboardInterrupt:
            with suppress(RuntimeError):  # the loop has closed in the meantime
                runner.get_loop().call_soon_threadsafe(task.cancel)
            raise
