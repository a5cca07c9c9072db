"""The C program's clients (XCPU 1.2): their namespace, redirects, checksums, and the end of a server."""
