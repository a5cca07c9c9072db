"""9P clients that other people have written, and that share no code with this project, read from a real master."""
