"""The same folder with other tools, side by side in one run."""
