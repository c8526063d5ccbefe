"""What tools/compare_quantizers is made of: the networks, and the quantizers of others."""
