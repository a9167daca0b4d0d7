"""What packs know as `utils`."""
