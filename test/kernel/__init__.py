"""A real Linux kernel, in a virtual machine, mounts a real master."""
