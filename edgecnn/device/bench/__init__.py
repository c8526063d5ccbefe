"""What `edgecnn bench` measures beside latencies (../measure.py), and what it makes of them: the report and its verdict, the machine's state,
start-up and memory, layers against the CPU's peak, and which of two files is faster."""
