"""A launch on Ray: shared stages and the search over cells side by side, each cell as soon as its stages are there."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext

import ray

from orchestrator.cell import Cell
from orchestrator.cluster.prepare import Prepare
from orchestrator.cluster.resources import Resources
from orchestrator.cluster.search import search
from orchestrator.errors import UserError
from orchestrator.execution import todo
from orchestrator.graph import Graph
from orchestrator.monitor import Monitor
from orchestrator.store import Store

KNOCK_SECONDS = 10


def run(
    graph: Graph,
    store: Store,
    cells: Sequence[Cell],
    monitor: Monitor,
    on_cell: Callable[[Cell], None] = lambda cell: None,
    address: str | None = None,
    gpus: int = 0,
) -> None:
    """Builds what the cells share and runs the cells, on a cluster or on one of this process' own.

    Args:
        on_cell: called on the driver, one call at a time, with every cell once its state is final.
        gpus: to which an autoscaling cluster may grow.
        address: of a running cluster (`auto`, `host:port`, `ray://…`); None starts one on this machine.

    Raises:
        UserError: there is no such cluster.
    """
    graph.put_leaves(store)
    plan = todo(graph, store, cells)
    monitor.begin(works=len(plan.works), cells=len(plan.cells), finished=plan.finished)
    unfinished = set(plan.cells)
    with connected(address) if plan.cells or plan.works else nullcontext():
        # Not before: a launch that finds no cluster has nothing to tell.
        for cell in cells:
            if cell not in unfinished:
                on_cell(cell)
        if not (plan.cells or plan.works):
            return
        resources = Resources.of_cluster(gpus, graph.space.trials_at_once)
        prepare = Prepare(store, plan.works, monitor, resources)
        thread = threading.Thread(target=prepare.run, name="prepare", daemon=True)
        thread.start()
        try:
            search(graph, store, plan.cells, prepare, monitor, on_cell, resources)
        except KeyboardInterrupt:
            prepare.stop()  # what it has begun ends with this process
            raise
        except BaseException:
            prepare.stop()
            thread.join()
            raise
        thread.join()  # before Ray is shut down: a call into it afterwards would end this process
        if prepare.error:
            raise prepare.error


@contextmanager
def connected(address: str | None) -> Iterator[None]:
    """A connection to Ray for a `with` block; one that was there already is used and left alone."""
    if ray.is_initialized():
        yield
        return
    try:
        if address is None:
            ray.init(
                address="local",  # and not a cluster that happens to run on this machine
                _node_ip_address="127.0.0.1",
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
                configure_logging=True,
            )
        else:
            _knock(address)
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (OSError, ValueError, RuntimeError) as error:
        wanted = (
            f"no Ray cluster answers at '{address}'"
            if address
            else "a Ray cluster could not be started on this machine"
        )
        raise UserError(
            f"{wanted} ({str(error).partition(chr(10))[0]}). Start one with `ray start --head`, or leave --address out to use "
            "this machine, or give --local to run without Ray. A cluster with a token wants RAY_AUTH_MODE=token."
        ) from error
    try:
        yield
    except KeyboardInterrupt:
        raise  # an encoder pass may still be at work in its thread, and Ray can't be shut down under it
    except BaseException:
        ray.shutdown()
        raise
    ray.shutdown()


def _knock(address: str) -> None:
    """Raises OSError where nothing listens at `host:port`; Ray itself would try for many minutes."""
    host, colon, port = address.rpartition(":")
    if colon and port.isdigit() and "/" not in host:
        socket.create_connection((host, int(port)), timeout=KNOCK_SECONDS).close()


def describe(address: str) -> str:
    """What a cluster has, for `doctor`."""
    with connected(address):
        resources = ray.cluster_resources()
        nodes = sum(node["Alive"] for node in ray.nodes())
        return f"{nodes} nodes, {resources.get('CPU', 0):.0f} processors, {resources.get('GPU', 0):.0f} GPUs"
