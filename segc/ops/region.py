"""Features of regions: RoI pooling in its published forms, pyramids of bins, crops."""
