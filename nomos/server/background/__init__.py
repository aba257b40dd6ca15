"""Background work of a server: tasks, notifications within the process, webhook delivery."""
