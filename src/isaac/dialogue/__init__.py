"""Task-oriented dialogue: booking and support assistants whose turns carry acts and values."""
