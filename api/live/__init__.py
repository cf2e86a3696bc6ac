"""Live events: one stream of the feed over WebSocket and server-sent events, resumable from a cursor."""
