"""Work shared among processes, which end with their parent and hold few tasks in advance."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from typing import Any

from runtime.errors import UserError


def enter_worker(niceness: int = 0) -> None:
    """Prepare a worker process: leave Ctrl-C to the parent, and end when the parent ends.

    A parent that is killed with SIGKILL cannot end its workers; each worker waits for it in a
    thread instead.

    Args:
        niceness: how far the worker leaves the cores to whoever else wants them, 0 to 19.
    """
    if niceness:
        os.nice(niceness)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=lambda: (parent.join(), os._exit(1)), daemon=True).start()


def run_parallel(
    function: Callable[..., Any], tasks: Iterable[tuple], processes: int
) -> Iterator[Any]:
    """Yield `function(*task)` for every task, in the order in which results arrive.

    Args:
        function: of a module, so that it can be pickled; errors that it raises are raised here.
        tasks: tuples of arguments; taken from the iterable only as they are needed, so that a long
            one costs no memory.
        processes: with 1 or fewer, this process does the work itself. Processes are spawned,
            because a fork of a process with threads may hang.

    Raises:
        UserError: a process died, e.g. killed for want of memory.
    """
    if processes <= 1:
        for task in tasks:
            yield function(*task)
        return
    tasks = iter(tasks)
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(processes, mp_context=context, initializer=enter_worker)
    try:
        running: set[Future] = {pool.submit(function, *t) for t in islice(tasks, 2 * processes)}
        while running:
            finished, running = wait(running, return_when=FIRST_COMPLETED)
            for future in finished:
                running |= {pool.submit(function, *task) for task in islice(tasks, 1)}
                yield future.result()
    except BrokenProcessPool as error:
        raise UserError(
            "a worker process died, perhaps for want of memory: run the same command again "
            "(finished work is kept), with fewer --num_workers if it recurs"
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
