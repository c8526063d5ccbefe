"""What tools/compare_runtimes is made of: networks, contenders, the children that run them, races and the table."""
