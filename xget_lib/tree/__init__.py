"""The namespaces of a server: what 9P clients see. `attach` chooses one by its aname."""
