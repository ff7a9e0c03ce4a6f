"""What happens at a zonepath: writing it, reading it back, and saying whether it is as it was made."""
