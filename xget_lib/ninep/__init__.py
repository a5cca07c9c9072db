"""9P, the Plan 9 File Protocol, with no input and output of its own: bytes in, messages and bytes out.

wire      integers, strings and qids; a message's layout, as the manual's section 5 writes it
messages  the T-messages and R-messages, one table a dialect
framer    a stream of bytes -> whole messages
stat      directory entries, and reading a directory
session   a server's side of a connection: fids, tags, flush; asks a tree of files, yields replies
requests  a client's side of a connection: tags, replies, data straight to where it belongs
"""
