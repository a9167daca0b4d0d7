"""ComfyUI's HTTP and WebSocket interface over a queue, a history and a registry. It executes nothing."""
