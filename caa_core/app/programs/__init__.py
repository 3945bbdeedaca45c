"""What programs and agents call: endpoints, tools that need no files, and a server of these by MCP."""
