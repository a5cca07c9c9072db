"""What a process of XGet can be: master, worker, client, child. Here the parts are put together."""
