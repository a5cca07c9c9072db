"""What people see: the log, the progress bar and the summary, the status."""
