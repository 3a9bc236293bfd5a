"""The assets, jobs and sensors together, on a small shop."""
