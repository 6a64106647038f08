"""What the commands do, once their options have been read."""
