"""Training: labelled pictures → manifest → trained network → evaluated bundle."""
