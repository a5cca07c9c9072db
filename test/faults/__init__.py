"""The fault bench: real masters, clients and hostile peers under faults that are drawn from a seed."""
