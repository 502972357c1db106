"""What the operating system gives and takes: processes, interrupts, limits, and what Windows lacks."""
