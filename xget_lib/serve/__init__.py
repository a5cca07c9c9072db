"""What 9P clients see of a server: the namespaces `swarm` and `files`, and the content behind them."""
