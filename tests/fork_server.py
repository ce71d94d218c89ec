"""
A process that has imported both services and forks one for every order: a fork takes a fraction of a start.

What a child then runs is what `python -m` runs, in a process of its own, with its own environment, folder, descriptors
and signals. `tests.processes` gives the orders; there are other tests that start the interpreter itself.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import resource
import runpy
import selectors
import signal
import socket
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

# All that the services import as they start, and later.
IMPORTED = (
    *(f"chains.{family}.adapter" for family in ("evm", "tron", "ton")),
    *("scanner.app", "kernel.tasks.gc", "scanner.store.maintenance"),
    *("marketplace.app", "marketplace.store.maintenance"),
)
LARGEST_ORDER = 1 << 20
MOST_DESCRIPTORS = 1 << 16
STDIN, STDOUT, STDERR = range(3)


@dataclass(frozen=True, slots=True)
class ForkRequest:
    """What a child is to be."""

    module: str
    arguments: list[str]
    environment: dict[str, str]
    folder: str
    umask: int
    descriptors: int | None

    def become(self, output: int, errors: int) -> None:
        """Make this process what a shell would have started, and run the module."""
        os.dup2(os.open(os.devnull, os.O_RDONLY), STDIN)
        os.dup2(output, STDOUT)
        os.dup2(errors, STDERR)
        os.closerange(STDERR + 1, MOST_DESCRIPTORS)
        if self.descriptors is not None:
            resource.setrlimit(resource.RLIMIT_NOFILE, (self.descriptors, self.descriptors))
        os.umask(self.umask)
        os.chdir(self.folder)
        os.environ.clear()
        os.environ.update(self.environment)
        time.tzset()
        sys.argv = [self.module, *self.arguments]
        runpy.run_module(self.module, run_name="__main__", alter_sys=True)


def serve(orders: socket.socket) -> tuple[ForkRequest, int, int] | None:
    """
    Fork for each order until nobody orders any more; then every child is gone.

    In a child it returns: what it is to be, and the descriptors of its standard output and error.
    """
    children: dict[int, tuple[int, int]] = {}  # by the descriptor that tells of its end: the child, where to report
    with selectors.DefaultSelector() as selector:
        selector.register(orders, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fd in children:
                    selector.unregister(key.fd)
                    os.close(key.fd)
                    _bury(*children.pop(key.fd))
                    continue
                said, descriptors, *_ = socket.recv_fds(orders, LARGEST_ORDER, 3)
                if not said:
                    for child, report in children.values():
                        os.kill(child, signal.SIGKILL)
                        _bury(child, report)
                    return None
                output, errors, report = descriptors
                child = os.fork()
                if child == 0:
                    return ForkRequest(**json.loads(said)), output, errors
                os.write(report, b"%d\n" % child)
                os.close(output)
                os.close(errors)
                ending = os.pidfd_open(child)
                selector.register(ending, selectors.EVENT_READ)
                children[ending] = (child, report)


def _bury(child: int, report: int) -> None:
    _, status = os.waitpid(child, 0)
    with suppress(BrokenPipeError):  # nobody waits for it any more
        os.write(report, b"%d\n" % os.waitstatus_to_exitcode(status))
    os.close(report)


def main(arguments: Sequence[str]) -> None:
    """Serve whoever holds the other end of the socket of this number."""
    for module in IMPORTED:
        importlib.import_module(module)
    gc.freeze()  # what was imported is shared with every child
    with socket.socket(fileno=int(arguments[0])) as orders:
        ordered = serve(orders)
    if ordered is not None:
        order, output, errors = ordered
        order.become(output, errors)


if __name__ == "__main__":
    main(sys.argv[1:])
