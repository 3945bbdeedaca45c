"""The Generate tab: pairs, vectors made of them, and what to do next."""
