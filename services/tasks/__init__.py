"""The task system: queues of named tasks, over the one engine. A task is a run of a definition with one node."""
