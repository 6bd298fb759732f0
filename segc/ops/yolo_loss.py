"""The loss of YOLO."""
