"""What it takes to fuse one sweep with all cameras, beside a plain loop over the cameras."""
