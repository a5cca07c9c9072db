"""9P, the Plan 9 File Protocol, without I/O: bytes in, messages and bytes out.

wire        fields of messages: integers, strings and qids as bytes
messages    the messages of 9P2000 and 9P2000.u, each stated once; `linux` those that 9P2000.L adds
dialect     the table of dialects: their messages, what carries out their requests, their error replies
framer      a stream of bytes -> whole messages
trace       a message as one line of the log
stat        directory entries, and reading a directory; `attributes` what 9P2000.L has instead
file        what a session asks of a tree of files
fids        what a request does with the files that fids stand for; `plain_fids` and `linux_fids` by dialect
session     a server's side of a connection: tags, flush, waiting reads
limits      what a session, and all sessions of a process, may take
requests    a client's side of a connection: tags, replies, data straight into the caller's buffer
"""
