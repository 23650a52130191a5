"""Graph surgery: what is put before and behind a network so that it keeps the bundle contract."""
