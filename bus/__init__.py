"""How a message gets its place in a stream and reaches every process."""
