"""What the server knows of this package (see `xget_lib.extensions`). A process loads the part that it needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from xget_lib.classic.backend import Namespace
    from xget_lib.classic.tracker import ClassicTracker
    from xget_lib.classic.worker import WorkerNamespace
    from xget_lib.extensions import Host, MasterHost, WorkerHost


def child_side(host: Host) -> Namespace:
    from xget_lib.classic.backend import Namespace

    return Namespace(host)


def worker_side(host: WorkerHost) -> WorkerNamespace:
    from xget_lib.classic.worker import WorkerNamespace

    return WorkerNamespace(host)


def master_side(host: MasterHost, max_direct: int) -> ClassicTracker:
    from xget_lib.classic.tracker import ClassicTracker

    return ClassicTracker(host, max_direct)
