"""Output for people and scripts: the log, the progress bar, the events of --json, the summary, the status."""
