"""The backend of an NVIDIA GPU. Only this room imports CuPy."""
