"""LiDAR and cameras together: which points are what, and where in metres the boxes are."""
