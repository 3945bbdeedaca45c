"""What is behind a key: slowed tries of one, and the classes that teachers hold."""
