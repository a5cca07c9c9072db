"""All faults."""

from __future__ import annotations

from test.faults import content_faults, disk_faults, network_faults, process_faults
from test.faults.fault import Fault

FAULTS: dict[str, Fault] = {
    **process_faults.FAULTS,
    **network_faults.FAULTS,
    **disk_faults.FAULTS,
    **content_faults.FAULTS,
}
