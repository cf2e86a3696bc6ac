"""The use cases of a database that a server has: the same shapes as the local services, over REST."""
