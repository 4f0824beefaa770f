"""What users need to try the router and to break it: processor simulator, load, comparison of books."""
