"""The age and gender network: building, loading, predicting."""
