"""Actions: the only room that changes the world. It moves traffic and sends messages, and decides nothing."""
