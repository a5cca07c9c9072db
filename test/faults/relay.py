"""A relay as a program: `python -m test.faults.relay HOST PORT`. It prints its port, and obeys lines on stdin.

cut     end the connections there are
hold    pass on nothing more from the server; the connections stay
open    pass on everything again
"""

from __future__ import annotations

import sys

from test.support.relay import Relay


def main() -> None:
    host, port = sys.argv[1:]
    relay = Relay(int(port), host=host, listen="127.0.0.1")
    print(relay.port, flush=True)
    commands = {"cut": relay.cut, "hold": relay.hold, "open": relay.open}
    for line in sys.stdin:
        commands[line.strip()]()


if __name__ == "__main__":
    main()
