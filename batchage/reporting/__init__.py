"""A page of a scan's results, to be looked at in a browser."""
