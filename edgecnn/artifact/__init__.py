"""The file that travels: its records, its canonical ZIP, and a bounded reader of the graph inside. Standard library only."""
