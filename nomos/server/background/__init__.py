"""What a server does beside answering: tasks, wake-ups, and delivery to a webhook."""
