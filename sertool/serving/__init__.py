"""Labels over HTTP and WebSocket. Needs starlette, uvicorn and websockets."""
