"""Background work of a server: tasks, notifications, webhook delivery."""
