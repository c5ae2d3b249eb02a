"""How work runs and is kept: engines, progress, storage, atomic files, remote file systems."""
