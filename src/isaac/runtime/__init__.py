"""How work runs and is stored: engines, progress, storage, atomic files, remote file systems."""
