"""9P, the Plan 9 File Protocol, with no input and output of its own: bytes in, messages and bytes out.

wire      integers, strings and qids; a message's layout, as the manual's section 5 writes it
messages  the T-messages and R-messages, one table a dialect
framer    a stream of bytes -> whole messages
stat      directory entries, and reading a directory
file      what a server asks of a tree of files
fids      what a request does with the files that fids stand for
session   a server's side of a connection: tags, flush, waiting reads
requests  a client's side of a connection: tags, replies, data straight to where it belongs
"""
