"""Training of the models that perception_ros ships: the only place with torch."""
